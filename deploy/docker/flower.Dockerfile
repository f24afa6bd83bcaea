# Celery Flower: the converters' tasks in a browser. Profile `monitoring`.
# Written for the classic builder and BuildKit alike. Context: the repository's root.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS environment
ARG UV_VERSION=0.13.9
RUN python3 -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check --quiet "uv==${UV_VERSION}" \
 && python3 -m venv --without-pip /opt/ovchat
# A lock file is complete, so nothing that it does not name is installed.
COPY deploy/locks/flower.lock /build/
RUN /opt/uv/bin/uv pip install --python /opt/ovchat/bin/python --no-cache --no-deps --no-build --compile-bytecode \
    --requirement /build/flower.lock

FROM ${BASE_IMAGE}
COPY --from=environment /opt/ovchat /opt/ovchat
COPY deploy/docker/harden /usr/local/sbin/ovchat-harden
RUN ovchat-harden
ENV PATH=/opt/ovchat/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY shared shared
COPY deploy/__init__.py deploy/__init__.py
COPY deploy/monitoring/__init__.py deploy/monitoring/task_monitor.py deploy/monitoring/
USER 10001:10001
EXPOSE 5555
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 5555, timeout=4); c.request('GET', '/healthcheck'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["python", "-m", "deploy.monitoring.task_monitor"]
# The image is not made when it cannot import what it runs.
RUN python -c "import deploy.monitoring.task_monitor, flower.command"
ARG BASE_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ovchat flower" \
      org.opencontainers.image.description="Shows the conversion tasks of ovchat" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
