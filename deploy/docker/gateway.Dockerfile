# The gateway, and nothing else: no compiler, no pip of its own, no vLLM, and LiteLLM only when asked for.
#
#   docker buildx build --file deploy/docker/gateway.Dockerfile --platform linux/amd64,linux/arm64 --tag gemma-gateway .
#
# Runs as any user that isn't root, on a read-only root file system; /tmp is needed only for several server.workers.

# The digest is the index of all platforms. Renew tag and digest together: deploy/docker/README.md
ARG PYTHON_IMAGE=docker.io/library/python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM ${PYTHON_IMAGE} AS build
ARG PREFIX=/opt/gateway
# What is built carries this time instead of now: the same commit and lock give the same files.
ARG SOURCE_DATE_EPOCH=315532800
ENV PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# Dependencies first: they change less often than the gateway. Wheels only, each by its hash: nothing is compiled.
COPY requirements.lock ./
RUN python -m venv --without-pip "$PREFIX" \
    && pip --python "$PREFIX/bin/python" install --require-hashes --no-deps --only-binary :all: --no-compile \
        --requirement requirements.lock

# 1: LiteLLM, for fallback providers.
ARG PROVIDERS=0
COPY deploy/local/locks ./locks
RUN if [ "$PROVIDERS" = 1 ]; then \
        pip --python "$PREFIX/bin/python" install --require-hashes --no-deps --only-binary :all: --no-compile \
            --requirement locks/image-providers.lock; \
    fi

RUN python -m venv --without-pip tools \
    && pip --python tools/bin/python install --require-hashes --no-deps --only-binary :all: \
        --requirement locks/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
RUN pip --python tools/bin/python wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . \
    && pip --python "$PREFIX/bin/python" install --no-deps --no-index --no-compile dist/*.whl

# Compiled here, because the root file system is read-only later; by content, because time stamps differ.
COPY deploy/docker/gateway-health ./
RUN install -m 755 gateway-health "$PREFIX/bin/gateway-health" \
    && "$PREFIX/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$PREFIX/lib"

FROM ${PYTHON_IMAGE}
ARG PREFIX=/opt/gateway
ARG PYTHON_IMAGE
ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Gemma Gateway" \
      org.opencontainers.image.description="OpenAI's API in front of vLLM when it serves Gemma" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
ENV PATH=${PREFIX}/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
COPY --from=build ${PREFIX} ${PREFIX}
USER 65532:65532
WORKDIR /
EXPOSE 8080
# The default, said aloud: the gateway drains on it.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --start-interval=1s CMD ["gateway-health"]
# Exec form: the gateway is process 1 and gets the signal itself. Inside the container the port is always 8080.
ENTRYPOINT ["gateway"]
CMD ["serve", "--config", "/etc/gemma-gateway/gateway.yaml", "--host", "0.0.0.0", "--port", "8080"]
