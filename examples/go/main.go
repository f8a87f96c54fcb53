// Prints new videos from the topic youtube.videos: when published, title, address.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

type state struct {
	sequence string
	isThere  bool
}

// seen has the newest known of each video: its ce_sequence, and whether it is there.
type seen map[string]state

// isNew takes a record and says whether it brings a video that was not there. A video's events may come again: the
// highest sequence counts, and of equal ones the later. A null value is a removal. Sequences are zero-padded, so they
// compare as text.
func (s seen) isNew(record *kgo.Record) (bool, error) {
	var sequence string
	for _, header := range record.Headers {
		if header.Key == "ce_sequence" {
			sequence = string(header.Value)
		}
	}
	if sequence == "" {
		return false, errors.New("no ce_sequence")
	}
	known := s[string(record.Key)]
	if sequence < known.sequence {
		return false, nil
	}
	isThere := record.Value != nil
	s[string(record.Key)] = state{sequence, isThere}
	return isThere && !known.isThere, nil
}

// line leaves out what could steer a terminal: a title is a stranger's text.
func line(value []byte) (string, error) {
	var video struct {
		Title       string `json:"title"`
		PublishedAt string `json:"published_at"`
		URL         string `json:"url"`
	}
	if err := json.Unmarshal(value, &video); err != nil {
		return "", err
	}
	text := fmt.Sprintf("%s  %s  %s", video.PublishedAt, video.Title, video.URL)
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, text), nil
}

func (s seen) show(record *kgo.Record) error {
	isNew, err := s.isNew(record)
	if err != nil || !isNew {
		return err
	}
	text, err := line(record.Value)
	if err == nil {
		fmt.Println(text)
	}
	return err
}

// connection says how to reach the brokers, by the same variables as YouSync's own services take.
func connection() ([]kgo.Opt, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(cmp.Or(os.Getenv("KAFKA_BOOTSTRAP_SERVERS"), "127.0.0.1:9092"), ",")...),
	}
	protocol := os.Getenv("KAFKA_SECURITY_PROTOCOL")
	if strings.Contains(protocol, "SSL") {
		settings := &tls.Config{}
		if file := os.Getenv("KAFKA_SSL_CAFILE"); file != "" {
			pem, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			settings.RootCAs = x509.NewCertPool()
			settings.RootCAs.AppendCertsFromPEM(pem)
		}
		options = append(options, kgo.DialTLSConfig(settings))
	}
	if strings.HasPrefix(protocol, "SASL") {
		user, password := os.Getenv("KAFKA_SASL_USERNAME"), os.Getenv("KAFKA_SASL_PASSWORD")
		switch os.Getenv("KAFKA_SASL_MECHANISM") {
		case "PLAIN":
			options = append(options, kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism()))
		case "SCRAM-SHA-256":
			options = append(options, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism()))
		default:
			options = append(options, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()))
		}
	}
	return options, nil
}

func run(ctx context.Context) error {
	options, err := connection()
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(append(options,
		kgo.ConsumerGroup(cmp.Or(os.Getenv("KAFKA_GROUP"), "ext.example.go")),
		kgo.ConsumeTopics("youtube.videos"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(10*time.Second), // after a kill the group waits so long for who is gone
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(), // so that a partition does not go to another member between show and commit
	)...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	newest := seen{}
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachError(func(topic string, partition int32, err error) {
			if ctx.Err() == nil {
				log.Printf("%s/%d: %v", topic, partition, err)
			}
		})
		fetches.EachRecord(func(record *kgo.Record) {
			if err := newest.show(record); err != nil {
				log.Printf("skipped %s/%d/%d: %v", record.Topic, record.Partition, record.Offset, err)
			}
		})
		// Also what was shown just before a signal to stop is committed.
		if err := client.CommitUncommittedOffsets(context.WithoutCancel(ctx)); err != nil {
			log.Printf("not committed: %v", err)
		}
		client.AllowRebalance()
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}
