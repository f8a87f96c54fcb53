ARG BASE
FROM ${BASE}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libcurl4 libssl3 && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 999 --create-home mongodb && install -d -o mongodb /data/db
COPY mongod mongosh /usr/local/bin/
USER mongodb
CMD ["mongod", "--bind_ip_all"]
