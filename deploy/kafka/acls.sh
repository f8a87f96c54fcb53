#!/bin/sh
# Rights of every principal at the brokers: run it once as an administrator, and again after a change.
#   KAFKA_ACLS=/opt/kafka/bin/kafka-acls.sh deploy/kafka/acls.sh --bootstrap-server HOST:PORT --command-config admin.properties
# READ and WRITE bring DESCRIBE with them. docs/operations/security.md says what each line is for.
set -eu

# allow PRINCIPAL --topic|--group NAME literal|prefixed OPERATION...
allow() {
    principal=$1 kind=$2 name=$3 pattern=$4
    shift 4
    for operation in "$@"; do
        # shellcheck disable=SC2086  # the options of the connection are several words
        "${KAFKA_ACLS:-kafka-acls.sh}" $connection --add --allow-principal "User:$principal" \
            --operation "$operation" "$kind" "$name" --resource-pattern-type "$pattern"
    done
}
connection=$*

# The producer: fetches, remembers what it did, and one of several leads.
allow yousync-producer --topic youtube.videos.raw literal Write
allow yousync-producer --topic yousync.producer.state literal Read Write
allow yousync-producer --group yousync-producer literal Read

# The processors, and the replay.
allow yousync-processor --topic youtube.videos.raw literal Read
allow yousync-processor --topic youtube.videos literal Read Write
allow yousync-processor --topic youtube.videos.dead-letter literal Write
allow yousync-processor --topic yousync-projector-known_videos-changelog literal Read Write
allow yousync-processor --topic yousync.producer.state literal Describe
allow yousync-processor --group yousync-projector literal Read

# The API: its newest videos and live events; what it says of the pipeline (lag, quota) it only looks at.
allow yousync-api --topic youtube.videos literal Read
allow yousync-api --topic yousync.producer.state literal Read
allow yousync-api --topic youtube.videos.raw literal Describe
allow yousync-api --topic youtube.videos.dead-letter literal Describe
allow yousync-api --group yousync-projector literal Describe

# Operators, and `yousync topics`: queries, dead letters, tail, status of every group.
allow yousync-operator --topic youtube.videos prefixed Create Read Write DescribeConfigs
allow yousync-operator --topic yousync prefixed Create Read Write DescribeConfigs
allow yousync-operator --group yousync-producer literal Read
allow yousync-operator --group '*' literal Describe

# One for each team that reads the public topic, in groups that begin with its name.
allow ext-team --topic youtube.videos literal Read Describe
allow ext-team --group ext.team. prefixed Read
