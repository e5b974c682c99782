# One small image with the four programs, static, on nothing. Builds with BuildKit, with Docker's older builder and with
# buildah, so it uses none of their special instructions (no RUN --mount, no COPY --chmod, no here-documents).
#
#   docker build -t lnmt .
#
# A learner builds once, so there is no layer trick for dependencies: `COPY . .` and one cargo build.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
# Static: the target must be named, or else the same flags would go to build scripts and procedural macros, which cannot
# be static. The binaries then run from an empty image, and still resolve service names.
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
 && RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --locked --profile docker --target "$target" --bins \
 && mkdir -p /out/bin /out/state && touch /out/state/.keep \
 && for program in proxy appserver sessiond lab; do cp "target/$target/docker/$program" /out/bin/; done

FROM scratch
COPY --from=build /out/bin/ /bin/
# A new volume here takes over the folder's owner; the dot file is there because an empty folder would lose it.
COPY --from=build --chown=65532:65532 /out/state/ /var/lib/lnmt/
# Nobody in particular; compose makes the rest read-only and takes every capability away.
USER 65532:65532
# Each service names its program: proxy, appserver or sessiond, or lab for all of them.
CMD ["/bin/lab", "--help"]
