# shellcheck shell=bash
# skopeo: log in, push a folder, pull it, copy the whole index across repositories, list, inspect, delete.

skopeo_from=docker://$REGISTRY/clients/podman:index
skopeo_to=docker://$REGISTRY/clients/skopeo
skopeo_password() { skopeo login --tls-verify=false --username "$ADMIN" --password-stdin "$REGISTRY" <<< "$1"; }
skopeo_copy() { skopeo copy --src-tls-verify=false --dest-tls-verify=false "$@"; }
skopeo_delete() { skopeo delete --tls-verify=false "$1"; }
export -f skopeo_password skopeo_copy skopeo_delete

refused 'skopeo: a wrong password is refused' skopeo_password wrong
check 'skopeo: login' skopeo_password "$PASSWORD"
check 'skopeo: copies every platform to another repository' skopeo_copy --all "$skopeo_from" "$skopeo_to:copy"
same 'skopeo: the copy has the digest of the index' "$(digest clients/podman index)" "$(digest clients/skopeo copy)"
check 'skopeo: pulls every platform into a folder' skopeo_copy --all "$skopeo_to:copy" "oci:$SCRATCH/skopeo:copy"
check 'skopeo: pushes the folder' skopeo_copy --all "oci:$SCRATCH/skopeo:copy" "$skopeo_to:again"
same 'skopeo: the pushed folder has the digest of the index' "$(digest clients/podman index)" "$(digest clients/skopeo again)"
same 'skopeo: inspect says the digest' "$(digest clients/skopeo copy)" \
    "$(skopeo inspect --tls-verify=false --override-os linux --override-arch amd64 "$skopeo_to:copy" | jq -r .Digest)"
same 'skopeo: lists the tags' "$(skopeo list-tags --tls-verify=false "$skopeo_to" | jq -r '.Tags | join(" ")')" 'again copy'
check 'skopeo: copies with the docker media types' skopeo_copy --format v2s2 \
    "docker://$REGISTRY/clients/podman:amd64" "$skopeo_to:v2s2"
same 'skopeo: docker media types are served as pushed' "$(manifest clients/skopeo v2s2 | jq -r .mediaType)" \
    application/vnd.docker.distribution.manifest.v2+json
check 'skopeo: deletes' skopeo_delete "$skopeo_to:copy"
same 'skopeo: what it deleted is gone' "$(status clients/skopeo/manifests/copy)" 404
check 'skopeo: logout' skopeo logout "$REGISTRY"
refused 'skopeo: without a login the repository is closed' skopeo list-tags --tls-verify=false "$skopeo_to"
