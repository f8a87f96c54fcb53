ARG BASE
FROM ${BASE}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends openjdk-17-jre-headless && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 1000 --create-home appuser && install -d -o appuser /var/lib/kafka/data /opt/kafka/bin /opt/kafka/config
COPY jars /opt/kafka/libs
COPY kafka-start.sh kafka-broker-api-versions.sh /opt/kafka/bin/
USER appuser
CMD ["/opt/kafka/bin/kafka-start.sh"]
