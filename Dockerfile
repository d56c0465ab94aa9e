# An image for one machine, for workers and for jobs of a cluster.
#
#   docker build -t stemfeatures .
#   docker build -t stemfeatures:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#   docker run --rm -v /music:/music:ro -v /data:/data stemfeatures extract /music -o /data/features
#
# The wheels of PyTorch bring CUDA with them, so the image for GPUs differs in nothing else (docker run --gpus all).
ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
# The one package that comes from an index of its own; its version is that of the constraints.
# hadolint ignore=DL3013
RUN pip install -c constraints.txt --index-url "${TORCH_INDEX}" --extra-index-url https://pypi.org/simple torch
COPY stemfeatures ./stemfeatures
COPY pipelines ./pipelines
# hadolint ignore=DL3013
RUN pip install -c constraints.txt '.[query,report,s3,http]' \
    && pip install 'gcsfs>=2024.12' 'adlfs>=2024.12'

FROM python:${PYTHON_VERSION}-slim-bookworm
RUN useradd --create-home --uid 1000 stemfeatures
COPY --from=build /opt/venv /opt/venv
# Memory stays with the process, and a library takes one thread: see docs/every-night.md.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MALLOC_TRIM_THRESHOLD_=1073741824 \
    MALLOC_MMAP_THRESHOLD_=33554432 \
    MALLOC_ARENA_MAX=1
USER stemfeatures
WORKDIR /home/stemfeatures
ENTRYPOINT ["stemfeatures"]
CMD ["--help"]
