# The service with its embedded bundle: Python, ONNX Runtime and nothing that trains. `make image` builds it.
FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY model ./model
COPY service ./service
COPY twofold ./twofold
# The link to training/ leads nowhere here, so the wheel holds no training code
RUN python -m venv /opt/twofold && /opt/twofold/bin/pip install -c constraints.txt . && rm /opt/twofold/bin/twofold-train

FROM python:3.11-slim
COPY --from=build /opt/twofold /opt/twofold
ENV PATH=/opt/twofold/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 TWOFOLD_HOST=0.0.0.0
# A number, so that an orchestrator can prove that it is not root
USER 10001:10001
EXPOSE 8000
# Ready, not just alive; Python asks, so no curl has to be in the image
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["python", "-c", "import http.client as h, os; c = h.HTTPConnection('127.0.0.1', int(os.environ.get('TWOFOLD_PORT', '8000')), timeout=2); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["twofold"]
CMD ["serve"]
