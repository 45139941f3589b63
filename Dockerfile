# Give a digest where images are built for others: --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:…
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# Locks first: a change of our own code does not install the dependencies again.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv --without-pip /opt/iclient-proxy \
    && python -m pip --python /opt/iclient-proxy/bin/python install --no-compile --require-hashes -r requirements.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/python -m pip install --require-hashes -r requirements-build.lock

# Bytecode is compiled here and trusted as it is: start-up is spent on imports, and the final file system is read-only.
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY proxy proxy
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /opt/wheels . \
    && python -m pip --python /opt/iclient-proxy/bin/python install --no-compile --no-deps --no-index /opt/wheels/*.whl \
    && /opt/iclient-proxy/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/iclient-proxy/lib

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="iclient-proxy" \
      org.opencontainers.image.description="A forward auth proxy for OAuth 2.0 APIs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# What can install packages has no business in a container that holds credentials.
RUN python -m pip uninstall --yes --root-user-action=ignore setuptools wheel pip
COPY --from=build /opt/iclient-proxy /opt/iclient-proxy
ENV PATH="/opt/iclient-proxy/bin:${PATH}" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# A number, so that `runAsNonRoot` can see that it is not root. Nothing is written: run it with a read-only root file system.
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["iclient-proxy", "health"]
ENTRYPOINT ["iclient-proxy"]
CMD ["run"]
