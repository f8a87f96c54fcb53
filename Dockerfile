# One image for every service: `docker run yousync api`, `producer`, `processor`, `topics`.
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/yousync
COPY requirements/runtime.txt requirements/
RUN /opt/yousync/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md ./
COPY contract contract
COPY ops ops
COPY processors processors
COPY producer producer
COPY query_api query_api
COPY simulator simulator
COPY yousync yousync
RUN /opt/yousync/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim
RUN groupadd --gid 10001 yousync \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/yousync --create-home --shell /usr/sbin/nologin yousync
COPY --from=build /opt/yousync /opt/yousync
ENV PATH=/opt/yousync/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    YOUSYNC_HOME=/var/lib/yousync \
    YOUSYNC_API_HOST=0.0.0.0 \
    YOUSYNC_LOG_FORMAT=json
USER 10001:10001
WORKDIR /var/lib/yousync
EXPOSE 8080
ENTRYPOINT ["yousync"]
CMD ["--help"]
