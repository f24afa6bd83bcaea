# The proxy: the only service that is published. It spreads requests and sockets over the gateways. The same image is the
# `store`, with `ovchat-store` as its entry point.
# Written for the classic builder and BuildKit alike. Context: the repository's root.
ARG NGINX_IMAGE=nginx:1.28-bookworm
FROM ${NGINX_IMAGE}
COPY deploy/docker/harden /usr/local/sbin/ovchat-harden
RUN ovchat-harden
COPY deploy/docker/nginx.conf deploy/docker/to_gateway.conf deploy/docker/store.conf /etc/ovchat/
COPY deploy/docker/proxy /usr/local/bin/ovchat-proxy
COPY deploy/docker/store /usr/local/bin/ovchat-store
USER 10001:10001
EXPOSE 8080 8443
# nginx' graceful end; with SIGTERM it would cut open streams.
STOPSIGNAL SIGQUIT
# Its own state only: gateways have health checks of their own.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["curl", "--fail", "--silent", "--output", "/dev/null", "http://127.0.0.1:8081/"]
ENTRYPOINT ["ovchat-proxy"]
CMD []
# The image is not made with a configuration that this nginx does not take.
RUN ovchat-proxy -t
ARG NGINX_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ovchat proxy" \
      org.opencontainers.image.description="Published front of ovchat's gateways: HTTP, WebSocket, event streams, TLS" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${NGINX_IMAGE}"
