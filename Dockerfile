# One image for every service: `docker run yousync api`, `producer`, `processor`, `topics`.
#
# The base needs Python 3.11 to 3.13 as `python3`, with its `venv` module (Debian: python3-venv).
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
# The time of every file that is made here. What was the same before is the same again, byte for byte.
ARG SOURCE_DATE_EPOCH=1767225600
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} PYTHONHASHSEED=0
RUN python3 -m venv /opt/yousync
# `tracing` brings what traces need besides: docs/operations/tracing.md.
ARG REQUIREMENTS=runtime
COPY requirements/runtime.txt requirements/tracing.txt requirements/
RUN /opt/yousync/bin/python3 -m pip install --no-cache-dir --no-compile --require-hashes -r requirements/${REQUIREMENTS}.txt
COPY pyproject.toml README.md ./
COPY contract contract
COPY ops ops
COPY processors processors
COPY producer producer
COPY query_api query_api
COPY simulator simulator
COPY yousync yousync
# What only building needs goes, and so do the descriptions of all of Google's services but YouTube, over 100 MB.
RUN /opt/yousync/bin/python3 -m pip install --no-cache-dir --no-compile --no-deps --no-build-isolation . \
 && /opt/yousync/bin/python3 -m pip uninstall --quiet --yes setuptools pip \
 && find /opt/yousync -path '*/discovery_cache/documents/*' ! -name youtube.v3.json -delete \
 && find /opt/yousync -name __pycache__ -prune -exec rm -r {} + \
 && /opt/yousync/bin/python3 -m compileall -q --invalidation-mode unchecked-hash /opt/yousync/lib \
 && mkdir /home-of-yousync \
 && find /opt/yousync /home-of-yousync -exec touch --no-dereference --date=@${SOURCE_DATE_EPOCH} {} +

FROM ${PYTHON_IMAGE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title=YouSync \
      org.opencontainers.image.description="Follows YouTube search queries and serves what it finds, as a REST API and a Kafka stream." \
      org.opencontainers.image.version=0.1.0 \
      org.opencontainers.image.revision=${REVISION}
COPY --from=build /opt/yousync /opt/yousync
COPY --from=build --chown=10001:10001 /home-of-yousync /var/lib/yousync
# Nothing writes outside YOUSYNC_HOME, and only processor and simulator write there; more than one process of the API
# (YOUSYNC_API_PROCESSES) share figures in /tmp.
ENV PATH=/opt/yousync/bin:$PATH \
    HOME=/var/lib/yousync \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    YOUSYNC_HOME=/var/lib/yousync \
    YOUSYNC_API_HOST=0.0.0.0 \
    YOUSYNC_LOG_FORMAT=json
USER 10001:10001
WORKDIR /var/lib/yousync
EXPOSE 8080 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('YOUSYNC_ADMIN_PORT', '9090') + '/livez', timeout=4)"]
ENTRYPOINT ["yousync"]
CMD ["--help"]
