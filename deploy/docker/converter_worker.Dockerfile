# The converter: torch (CPU build), transformers, optimum-intel and nncf. The only service that writes the model store.
# Written for the classic builder and BuildKit alike. Context: the repository's root.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS environment
ARG UV_VERSION=0.13.9
RUN python3 -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check --quiet "uv==${UV_VERSION}" \
 && python3 -m venv --without-pip /opt/ovchat
# deploy/bin/wheels puts torch's CPU build there where this machine keeps one. The pattern may match nothing.
COPY deploy/locks/converter.lock deploy/wheels*/*.whl /build/
# A lock file is complete, so nothing that it does not name is installed. The plain torch would bring CUDA: it is never
# taken; without a wheel beside the lock file uv asks PyTorch's index of CPU builds.
RUN if ls /build/torch-*.whl >/dev/null 2>&1; then set -- --find-links /build; else set -- --torch-backend cpu; fi \
 && /opt/uv/bin/uv pip install --python /opt/ovchat/bin/python --no-cache --no-deps --no-build --compile-bytecode \
    --requirement /build/converter.lock "$@"
# The version stacks: other versions of a few packages, which the processes of a conversion put before these.
COPY deploy/bin/stacks /build/deploy/bin/stacks
COPY deploy/locks/stack-*.lock /build/deploy/locks/
RUN UV=/opt/uv/bin/uv PYTHON_OF_STACKS=/opt/ovchat/bin/python \
    /build/deploy/bin/stacks /opt/ovchat/stacks --no-cache --no-build --compile-bytecode

FROM ${BASE_IMAGE}
# One number for every service: they meet on volumes. A new volume takes its folder's owner from the image.
RUN groupadd --gid 10001 ovchat \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin ovchat \
 && install -d -o ovchat -g ovchat -m 0750 /data \
 && install -d -o ovchat -g ovchat -m 0755 /models
COPY --from=environment /opt/ovchat /opt/ovchat
COPY deploy/docker/harden /usr/local/sbin/ovchat-harden
RUN ovchat-harden
ENV PATH=/opt/ovchat/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/data/huggingface \
    OVCHAT_DATA_DIR=/data \
    OVCHAT_MODEL_STORE=/models
WORKDIR /app
# The code is not installed but copied; its version is looked up as an installed distribution's.
ARG VERSION=0.1.0
RUN install -d "ovchat-${VERSION}.dist-info" \
 && printf 'Metadata-Version: 2.1\nName: ovchat\nVersion: %s\n' "${VERSION}" > "ovchat-${VERSION}.dist-info/METADATA"
COPY shared shared
COPY converter_worker converter_worker
USER 10001:10001
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=8s --start-period=90s --retries=3 \
    CMD ["python", "-m", "converter_worker.health"]
CMD ["python", "-m", "converter_worker"]
# The image is not made when it cannot import its service and what its stages import later, in each version stack. Nothing is sent to vendors.
RUN export HF_HOME=/tmp/huggingface HOME=/tmp CI=true DO_NOT_TRACK=1 HF_HUB_DISABLE_TELEMETRY=1 \
 && python -c "import converter_worker.__main__, torch, nncf, optimum.intel.openvino, openvino_tokenizers; assert '+cpu' in torch.__version__ or torch.version.cuda is None" \
 && for stack in /opt/ovchat/stacks/*; do PYTHONPATH=$stack:/app python -c "import optimum.exporters.openvino, transformers" || exit 1; done
ARG BASE_IMAGE
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ovchat converter worker" \
      org.opencontainers.image.description="Converts Hugging Face models to OpenVINO IR in ovchat's model store" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
