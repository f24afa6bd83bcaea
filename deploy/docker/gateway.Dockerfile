# The gateway: HTTP, WebSocket, the chat page and the command line. No model library.
# Written for the classic builder and BuildKit alike. Context: the repository's root.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS environment
ARG UV_VERSION=0.13.9
RUN python3 -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check --quiet "uv==${UV_VERSION}" \
 && python3 -m venv --without-pip /opt/ovchat
# A lock file is complete, so nothing that it does not name is installed.
COPY deploy/locks/gateway.lock /build/
RUN /opt/uv/bin/uv pip install --python /opt/ovchat/bin/python --no-cache --no-deps --no-build --compile-bytecode \
    --requirement /build/gateway.lock

FROM ${BASE_IMAGE}
# One number for every service: they meet on volumes.
RUN groupadd --gid 10001 ovchat \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin ovchat \
 && install -d -o ovchat -g ovchat -m 0750 /data
COPY --from=environment /opt/ovchat /opt/ovchat
COPY deploy/docker/harden /usr/local/sbin/ovchat-harden
RUN ovchat-harden
ENV PATH=/opt/ovchat/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OVCHAT_DATA_DIR=/data \
    OVCHAT_HOST=0.0.0.0 \
    OVCHAT_PORT=8000
WORKDIR /app
# The code is not installed but copied; its version is looked up as an installed distribution's.
ARG VERSION=0.1.0
RUN install -d "ovchat-${VERSION}.dist-info" \
 && printf 'Metadata-Version: 2.1\nName: ovchat\nVersion: %s\n' "${VERSION}" > "ovchat-${VERSION}.dist-info/METADATA"
COPY shared shared
COPY gateway gateway
COPY deploy/docker/ovchat /opt/ovchat/bin/ovchat
USER 10001:10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["python", "-m", "gateway"]
# The image is not made when it cannot import its service, or carries what it must not.
RUN python -c "import importlib.util as u, gateway.__main__; assert not any(map(u.find_spec, ('torch', 'transformers', 'openvino')))"
ARG BASE_IMAGE
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ovchat gateway" \
      org.opencontainers.image.description="HTTP and WebSocket front of ovchat, an LLM chat on OpenVINO" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
