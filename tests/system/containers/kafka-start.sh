#!/bin/bash
# As the official image: KAFKA_LOG_DIRS is log.dirs, and so on; the storage is formatted once.
set -euo pipefail
properties=/opt/kafka/config/server.properties
env | sed -n 's/^KAFKA_\([A-Z0-9_]*\)=/\1=/p' | while IFS='=' read -r name value; do
  name="${name,,}"
  echo "${name//_/.}=$value"
done > "$properties"
run=(java -Xmx512m -cp '/opt/kafka/libs/*')
"${run[@]}" kafka.tools.StorageTool format --ignore-formatted --cluster-id=YouSyncTrialOfImages00 -c "$properties"
exec "${run[@]}" kafka.Kafka "$properties"
