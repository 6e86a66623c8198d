# Training on a CPU: `make training-image` builds it; the data set and the run folder are mounted.
# PyPI's torch for Linux brings CUDA along. For the smaller CPU build, name its index: --build-arg PIP_EXTRA_INDEX_URL=...
FROM python:3.11-slim AS build
ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY model ./model
COPY service ./service
COPY training ./training
COPY twofold ./twofold
RUN python -m venv /opt/twofold && /opt/twofold/bin/pip install -c constraints.txt '.[train]'

FROM python:3.11-slim
COPY --from=build /opt/twofold /opt/twofold
# HOME: caches of the libraries go where any user may write
ENV PATH=/opt/twofold/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /training
# A number, so that an orchestrator can prove that it is not root; `--user "$(id -u):$(id -g)"` makes the run folder yours
USER 10001:10001
ENTRYPOINT ["twofold-train"]
CMD ["--help"]
