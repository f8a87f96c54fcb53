ARG BASE
FROM ${BASE}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light wget && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 101 --create-home nginx
COPY nginx /usr/local/bin/
CMD ["nginx", "-g", "daemon off;"]
