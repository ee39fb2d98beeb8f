# Two images from one file: `--target operator` (no torch) and `--target trainer`. docs/install.md says how to build them.
# The same sources, base and SOURCE_DATE_EPOCH give the same layers: what is fetched has its hash in uv.lock, what builds
# wheels as well, and bytecode is bound to no time stamp. Debian's libraries for RDMA alone are today's of the mirror.

# Any image with Python 3.11 or newer, its venv module and bash: name@sha256:… It has no default, because a tag is another
# image next week. docs/install.md has the command that finds today's digest.
ARG BASE_IMAGE


FROM ${BASE_IMAGE} AS tools
# A machine behind a private certificate authority mounts its bundle for the build and names it here; no layer keeps it.
ARG SSL_CERT_FILE
# Read-only root file systems let nobody write bytecode later, and importing torch without it takes ten seconds.
ENV VIRTUAL_ENV=/opt/kubetune \
    UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    PYC_INVALIDATION_MODE=UNCHECKED_HASH
COPY scripts/uv.txt /requirements/
RUN python3 -m venv /opt/uv \
    && PIP_CERT="${SSL_CERT_FILE}" /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check \
        --require-hashes --only-binary :all: --requirement /requirements/uv.txt


# What each image needs and nothing else: another tool of the developers, or a comment, costs no gigabytes anew.
FROM tools AS requirements
WORKDIR /requirements
COPY pyproject.toml uv.lock ./
RUN list="/opt/uv/bin/uv export --quiet --frozen --no-dev --no-emit-project --no-header --no-annotate" \
    && ${list} --extra operator --output-file operator.txt \
    && ${list} --extra trainer --output-file trainer.txt \
    && ${list} --only-group build --output-file build.txt


FROM tools AS operator-dependencies
ARG SSL_CERT_FILE
COPY --from=requirements /requirements/operator.txt /requirements/build.txt /requirements/
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv venv --quiet --python ">=3.11" "${VIRTUAL_ENV}" \
    && /opt/uv/bin/uv pip sync --require-hashes --require-build-hashes --preview-features build-dependency-hashes \
        --build-constraints /requirements/build.txt /requirements/operator.txt \
    # Which everybody may write to.
    && rm -f "${VIRTUAL_ENV}/.lock"


FROM tools AS trainer-dependencies
ARG SSL_CERT_FILE
COPY --from=requirements /requirements/trainer.txt /requirements/build.txt /requirements/
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv venv --quiet --python ">=3.11" "${VIRTUAL_ENV}" \
    && /opt/uv/bin/uv pip sync --require-hashes --require-build-hashes --preview-features build-dependency-hashes \
        --build-constraints /requirements/build.txt /requirements/trainer.txt \
    # Which everybody may write to.
    && rm -f "${VIRTUAL_ENV}/.lock"


# The project alone, at the path where the images have their environment.
FROM tools AS code
ARG SSL_CERT_FILE
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY crds crds
COPY planner planner
COPY operator operator
COPY trainer trainer
COPY cli cli
COPY --from=requirements /requirements/build.txt /requirements/
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv build --wheel --require-hashes --build-constraints /requirements/build.txt --out-dir /wheel \
    && /opt/uv/bin/uv venv --quiet "${VIRTUAL_ENV}" \
    && /opt/uv/bin/uv pip install --no-deps /wheel/*.whl \
    # When the wheel was built: two builds would differ by it alone.
    && cd "${VIRTUAL_ENV}"/lib/python3*/site-packages/kubetune-*.dist-info \
    && rm uv_cache.json \
    && sed -i '/uv_cache.json/d' RECORD


FROM ${BASE_IMAGE} AS runtime
# torch asks for the user's name; under a user that the cluster invents, the variable answers.
RUN echo "kubetune:x:65532:65532::/home/kubetune:/bin/bash" >>/etc/passwd \
    && echo "kubetune:x:65532:" >>/etc/group \
    && install -d -o 65532 -g 65532 -m 0770 /home/kubetune
ENV PATH=/opt/kubetune/bin:$PATH \
    HOME=/home/kubetune \
    USER=kubetune \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /home/kubetune
# By number: Kubernetes' runAsNonRoot cannot tell whether a name is root's.
USER 65532:65532


FROM runtime AS operator
COPY --from=operator-dependencies /opt/kubetune /opt/kubetune
COPY --from=code /opt/kubetune/lib /opt/kubetune/lib
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="kubetune-operator" \
      org.opencontainers.image.description="Plans and launches the fine-tuning of FineTuneJobs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENTRYPOINT ["python", "-m", "kubetune_operator"]


# KubeRay starts it through bash and asks after it by HTTP. Nothing is compiled when a run starts, so it has no compiler:
# the optimizer is torch's own fused AdamW, and no operation of DeepSpeed is used that would be built on first use.
# DeepSpeed is told its accelerator by the trainer, and NVIDIA_VISIBLE_DEVICES by the device plugin: `all`, set here, would
# give a pod without a GPU all of them.
# It goes on from the stage that installed its dependencies, and so has uv too: seven gigabytes copied from one stage to
# another would take twice the disk and minutes.
FROM trainer-dependencies AS trainer
# What NCCL opens to reach other nodes over RDMA; where it finds none, it takes TCP without a word. A base that is not
# Debian's brings its own. apt compares each file with the mirror's signed list: what is newer tomorrow is another layer.
RUN if command -v apt-get >/dev/null; then \
        apt-get update -qq \
        && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            libibverbs1 librdmacm1 ibverbs-providers \
        && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/aux-cache \
            /var/log/apt /var/log/dpkg.log /var/log/alternatives.log; \
    fi
COPY --from=runtime /etc/passwd /etc/group /etc/
COPY --from=runtime --chown=65532:65532 /home/kubetune /home/kubetune
ENV PATH=/opt/kubetune/bin:$PATH \
    HOME=/home/kubetune \
    USER=kubetune \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    RAY_USAGE_STATS_ENABLED=0 \
    OMP_WAIT_POLICY=PASSIVE \
    HF_HUB_DISABLE_TELEMETRY=1
WORKDIR /home/kubetune
USER 65532:65532
COPY --from=code /opt/kubetune/lib /opt/kubetune/lib
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="kubetune-trainer" \
      org.opencontainers.image.description="Runs one FineTuneJob: Ray Train workers with DeepSpeed ZeRO" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
CMD ["python", "-m", "kubetune_trainer"]
