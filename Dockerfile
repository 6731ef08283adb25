# The image of the shop: one static program on nothing. `shopctl image build` lays out the same without any engine.
# docker build -t shop .        podman build --format docker -t shop .        buildah build --format docker -t shop .
# (`--format docker` keeps the health check, which OCI's own format has no place for.)
ARG RUST=1.95
FROM docker.io/library/rust:${RUST}-bookworm AS build
WORKDIR /shop
COPY . .
# Static, and without the folders of the machine that built it.
ENV RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=/usr/local/cargo=/cargo"
RUN target="$(uname -m)-unknown-linux-gnu" \
    && cargo build --locked --package platform --bin shopd --profile image --target "$target" \
    && install -D -m 0755 "target/$target/image/shopd" /image/shopd
# Who runs, how names are found (in /etc/hosts first), which certificates are trusted.
RUN mkdir -p /image/etc/ssl/certs /data \
    && install -d -m 1777 /image/tmp \
    && printf 'root:x:0:0:root:/:/sbin/nologin\nshop:x:65532:65532:shop:/data:/sbin/nologin\n' > /image/etc/passwd \
    && printf 'root:x:0:\nshop:x:65532:\n' > /image/etc/group \
    && printf 'passwd: files\ngroup: files\nhosts: files dns\n' > /image/etc/nsswitch.conf \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt

FROM scratch
ARG REVISION=""
LABEL org.opencontainers.image.title="shop" \
      org.opencontainers.image.description="A whole e-commerce platform: five services behind a gateway, in one program" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
ENV SHOPCTL_DATA_DIR=/data
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/shopd", "health"]
ENTRYPOINT ["/shopd"]
CMD ["serve", "all", "--listen", "0.0.0.0:8080"]
