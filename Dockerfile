# Any image with Python 3.11 to 3.13 (with venv) as `python3` serves as base: the official one, or a Debian of your own.
ARG BASE_IMAGE=python:3.13-slim-bookworm

FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv /opt/transport-trio
# The dependencies first: this layer is built anew only when the lock changes.
COPY requirements/run.txt /build/requirements/run.txt
RUN /opt/transport-trio/bin/pip install --quiet --require-hashes -r /build/requirements/run.txt
COPY pyproject.toml README.md LICENSE /build/
COPY src /build/src
# The build backend came with the lock; neither it nor pip is of use in the finished image.
RUN /opt/transport-trio/bin/pip install --quiet --no-build-isolation --no-deps /build \
    && /opt/transport-trio/bin/pip uninstall --quiet --yes setuptools pip

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="transport-trio" \
      org.opencontainers.image.description="A control plane for WebRTC rooms: REST, WebSocket, NATS JetStream." \
      org.opencontainers.image.licenses="MIT"
# A fixed number, so that the owner of a mounted volume can be set from outside.
RUN groupadd --gid 10001 transport \
    && useradd --uid 10001 --gid transport --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin transport \
    && install --directory --owner transport --group transport --mode 0750 /data
COPY --from=build /opt/transport-trio /opt/transport-trio
ENV PATH=/opt/transport-trio/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 \
    PORT=8084 \
    DATA_DIR=/data
USER transport
WORKDIR /data
VOLUME /data
EXPOSE 8084
STOPSIGNAL SIGTERM
# Liveness, not readiness: a provider or a bus that is away is no reason to restart the service. No proxy is asked, and
# no certificate is judged: that it is for another name than 127.0.0.1 says nothing about the service.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python3", "-c", "import http.client as h, os, ssl, sys; a = {'host': '127.0.0.1', 'port': int(os.environ.get('PORT') or 8084), 'timeout': 4}; c = h.HTTPSConnection(**a, context=ssl._create_unverified_context()) if os.environ.get('TLS_CERTIFICATE_FILE') else h.HTTPConnection(**a); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["transport-trio"]
CMD ["serve"]
