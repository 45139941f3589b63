# syntax=docker/dockerfile:1
# Both stages are Debian 12 with its Python 3.11; the final one has no shell, no package manager and no root. Renovate
# and `docker buildx imagetools inspect` say what the digests have become.
ARG BUILD_IMAGE=debian:bookworm-slim@sha256:96e378d7e6531ac9a15ad505478fcc2e69f371b10f5cdf87857c4b8188404716
ARG RUN_IMAGE=gcr.io/distroless/python3-debian12:nonroot@sha256:7d1042ce588ab97019fe95c24ffca7bc5a82ccdac572511d5e09bda4435c89c5

FROM ${BUILD_IMAGE} AS build
# The versions are those of the digest's release of Debian, with its security updates.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev python3 python3-dev python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# Locks first: a change of our own code does not install the dependencies again.
COPY requirements.lock requirements-build.lock requirements-accelerate.lock ./
RUN /usr/bin/python3 -m venv --without-pip /opt/iclient-proxy \
    && /usr/bin/python3 -m venv /opt/build \
    && /opt/build/bin/python -m pip --python /opt/iclient-proxy/bin/python install --no-compile --require-hashes \
        --only-binary=:all: -r requirements.lock \
    && /opt/build/bin/python -m pip install --require-hashes --only-binary=:all: -r requirements-build.lock \
        -r requirements-accelerate.lock

# The data path is compiled here, for the Python that runs it; the compilers stay behind.
# Bytecode is compiled here and trusted as it is: start-up is spent on imports, and the final file system is read-only.
COPY pyproject.toml hatch_build.py README.md LICENSE CHANGELOG.md ./
COPY proxy proxy
RUN ICLIENT_PROXY_ACCELERATE=1 /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /opt/wheels . \
    && /opt/build/bin/python -m pip --python /opt/iclient-proxy/bin/python install --no-compile --no-deps --no-index /opt/wheels/*.whl \
    && /opt/iclient-proxy/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/iclient-proxy/lib

FROM ${RUN_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG RUN_IMAGE
LABEL org.opencontainers.image.title="iclient-proxy" \
      org.opencontainers.image.description="A forward auth proxy for OAuth 2.0 APIs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${RUN_IMAGE}"

COPY --from=build /opt/iclient-proxy /opt/iclient-proxy
ENV PATH="/opt/iclient-proxy/bin:/usr/bin" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# A number, so that `runAsNonRoot` can see that it is not root. Nothing is written: run it with a read-only root file system.
USER 65532:65532
STOPSIGNAL SIGTERM
EXPOSE 3128 7480 7489
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["iclient-proxy", "health"]
ENTRYPOINT ["iclient-proxy"]
CMD ["run"]
