# Headrace in a container: docs/how-to/container.md says how to build and run it.
ARG BASE=python:3.11-slim

# What installs it stays in this stage.
FROM ${BASE} AS build
RUN python -m venv /opt/headrace
WORKDIR /build
COPY requirements/runtime.lock requirements/
# Packages from an index of your own: --secret id=pip,src=pip.conf
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/headrace/bin/pip install --disable-pip-version-check --no-cache-dir --require-hashes \
        --requirement requirements/runtime.lock
COPY pyproject.toml README.md ./
COPY src src
RUN /opt/headrace/bin/pip install --disable-pip-version-check --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/headrace/bin/pip uninstall --yes hatchling editables setuptools pip

FROM ${BASE}
LABEL org.opencontainers.image.title="Headrace" \
      org.opencontainers.image.description="Azure Monitor's direct log ingestion on your own machine" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 headrace \
    && useradd --uid 10001 --gid headrace --home-dir /data --no-create-home --shell /usr/sbin/nologin headrace \
    && install --directory --owner headrace --group headrace --mode 0700 /data
COPY --from=build /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH \
    HEADRACE_DATA_DIR=/data \
    HEADRACE_SERVER_HOST=0.0.0.0
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=180s --retries=3 CMD ["python", "-m", "headrace.probe"]
ENTRYPOINT ["headrace"]
CMD ["serve"]
