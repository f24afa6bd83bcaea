# An inference worker: OpenVINO and openvino-genai, no torch. The model store is mounted at /models, read only.
# Written for the classic builder and BuildKit alike. Context: the repository's root.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS environment
ARG UV_VERSION=0.13.9
RUN python3 -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check --quiet "uv==${UV_VERSION}" \
 && python3 -m venv --without-pip /opt/ovchat
# A lock file is complete, so nothing that it does not name is installed.
COPY deploy/locks/inference.lock /build/
RUN /opt/uv/bin/uv pip install --python /opt/ovchat/bin/python --no-cache --no-deps --no-build --compile-bytecode \
    --requirement /build/inference.lock

FROM ${BASE_IMAGE}
# One number for every service: they meet on volumes. A new volume takes /models' owner from the image.
RUN groupadd --gid 10001 ovchat \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin ovchat \
 && install -d -o ovchat -g ovchat -m 0750 /data \
 && install -d -o ovchat -g ovchat -m 0755 /models
# User-mode drivers of a device: packages of Debian by name, and what was put into deploy/drivers/DRIVERS. For CPU nothing.
# Both patterns may match nothing.
ARG DRIVERS=none
ARG DRIVER_PACKAGES=
COPY deploy/locks/inference.lock deploy/drivers*/${DRIVERS}/*.deb /drivers/
RUN rm /drivers/inference.lock \
 && set -- ${DRIVER_PACKAGES} \
 && for package in /drivers/*.deb; do if [ -e "$package" ]; then set -- "$@" "$package"; fi; done \
 && if [ $# -gt 0 ]; then \
      apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" && rm -rf /var/lib/apt/lists/*; \
    fi
COPY --from=environment /opt/ovchat /opt/ovchat
COPY deploy/docker/harden /usr/local/sbin/ovchat-harden
RUN ovchat-harden
ENV PATH=/opt/ovchat/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OVCHAT_DATA_DIR=/data \
    OVCHAT_MODEL_STORE=/models
WORKDIR /app
# The code is not installed but copied; its version is looked up as an installed distribution's.
ARG VERSION=0.1.0
RUN install -d "ovchat-${VERSION}.dist-info" \
 && printf 'Metadata-Version: 2.1\nName: ovchat\nVersion: %s\n' "${VERSION}" > "ovchat-${VERSION}.dist-info/METADATA"
COPY shared shared
COPY inference_worker inference_worker
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=8s --start-period=60s --retries=3 \
    CMD ["python", "-m", "inference_worker.health"]
CMD ["python", "-m", "inference_worker"]
# The image is not made when it cannot import its service, or carries what it must not.
RUN python -c "import importlib.util as u, inference_worker.__main__, openvino_genai, openvino_tokenizers; assert not any(map(u.find_spec, ('torch', 'transformers', 'celery')))"
ARG BASE_IMAGE
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ovchat inference worker" \
      org.opencontainers.image.description="Serves OpenVINO IR from ovchat's model store, one device a worker" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
