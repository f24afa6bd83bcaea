# Redis with a fixed user and data folder, so that the volume's owner does not depend on how the base image was made.
ARG REDIS_IMAGE=redis:7-bookworm
FROM ${REDIS_IMAGE}
COPY deploy/docker/harden /usr/local/sbin/ovchat-harden
RUN ovchat-harden
RUN install -d -o 10001 -g 10001 -m 0750 /data
COPY deploy/docker/redis.conf /etc/ovchat/redis.conf
COPY deploy/docker/redis /usr/local/bin/ovchat-redis
WORKDIR /data
USER 10001:10001
VOLUME /data
EXPOSE 6379
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=5 CMD ["sh", "-c", "[ \"$(redis-cli ping)\" = PONG ]"]
ENTRYPOINT ["ovchat-redis"]
CMD []
ARG REDIS_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ovchat redis" \
      org.opencontainers.image.description="Message queue and state of ovchat, kept in an append-only file" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${REDIS_IMAGE}"
