# shellcheck shell=bash
# A repository is private after its first push; the administrator opens it, and anybody pulls.

# podman asks without credentials, so it finds what is public.
podman_finds() { podman_run search --tls-verify=false "$REGISTRY/clients" | grep -q clients/docker; }
export -f podman_finds

if [ -z "${TARGET:-}" ]; then
    refused 'podman: search does not name a private repository' podman_finds
    refused 'anonymous: a private repository is closed' crane manifest --insecure "$REGISTRY/clients/docker:1"
    check 'admin: makes it public' "$PORTOLAN" admin repository visibility clients/docker public
    same 'anonymous: pulls the public repository' \
        "sha256:$(crane manifest --insecure "$REGISTRY/clients/docker:1" | sha256sum | cut -d' ' -f1)" "$(digest clients/docker 1)"
    check 'anonymous: every blob of it too' crane validate --insecure --remote "$REGISTRY/clients/docker:1"
    check 'podman: search finds the public repository' podman_finds
    refused 'anonymous: cannot push to it' crane tag --insecure "$REGISTRY/clients/docker:1" mine
    check 'admin: makes it private again' "$PORTOLAN" admin repository visibility clients/docker private
    refused 'anonymous: it is closed again at once' crane manifest --insecure "$REGISTRY/clients/docker:1"
fi
