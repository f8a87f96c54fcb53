#!/bin/bash
# Stands in for Kafka's own tool: does anything listen at --bootstrap-server host:port?
exec 3<>"/dev/tcp/${2%:*}/${2#*:}"
