# shellcheck shell=bash
# regctl: log in, push a layout, pull it, copy the whole index, artifacts on a subject, delete.

regctl_image=$REGISTRY/clients/regctl
regctl_password() { regctl registry login --user "$ADMIN" --pass "$1" "$REGISTRY"; }
regctl_blob() { regctl blob put "$regctl_image" < "$SCRATCH/content/large/random.bin"; }
regctl_artifact() {
    regctl artifact put --subject "$regctl_image:copy" --artifact-type "$1" -f "$SCRATCH/content/small/hello.txt"
}
regctl_types() { regctl artifact list --format '{{json .}}' "$@" "$regctl_image:copy" | jq -r '[.descriptors[].artifactType] | sort | join(" ")'; }
export -f regctl_password regctl_blob regctl_artifact
export regctl_image

check 'regctl: is told that the registry speaks plain HTTP' regctl registry set --tls disabled --skip-check "$REGISTRY"
refused 'regctl: a wrong password is refused' regctl_password wrong
check 'regctl: login' regctl_password "$PASSWORD"
check 'regctl: pushes a blob in chunks' regctl_blob
same 'regctl: the blob has its bytes' \
    "$(regctl blob get "$regctl_image" "sha256:$(sha256sum < "$SCRATCH/content/large/random.bin" | cut -d' ' -f1)" | sha256sum)" \
    "$(sha256sum < "$SCRATCH/content/large/random.bin")"
check 'regctl: copies every platform to another repository' regctl image copy "$REGISTRY/clients/podman:index" "$regctl_image:copy"
same 'regctl: the copy has the digest of the index' "$(digest clients/podman index)" "$(digest clients/regctl copy)"
check 'regctl: pulls every platform into a folder' regctl image copy "$regctl_image:copy" "ocidir://$SCRATCH/regctl:copy"
check 'regctl: pushes the folder' regctl image copy "ocidir://$SCRATCH/regctl:copy" "$regctl_image:again"
same 'regctl: the pushed folder has the digest of the index' "$(digest clients/podman index)" "$(digest clients/regctl again)"
check 'regctl: puts an artifact on the image' regctl_artifact application/vnd.example.report
check 'regctl: puts another' regctl_artifact application/vnd.example.sbom
same 'regctl: lists both' "$(regctl_types)" 'application/vnd.example.report application/vnd.example.sbom'
same 'regctl: lists by type' "$(regctl_types --filter-artifact-type application/vnd.example.sbom)" application/vnd.example.sbom
same 'regctl: lists the tags' "$(regctl tag ls "$regctl_image" | sort | tr '\n' ' ')" 'again copy '
check 'regctl: deletes a tag' regctl tag delete "$regctl_image:again"
same 'regctl: the deleted tag is gone' "$(status clients/regctl/manifests/again)" 404
check 'regctl: deletes an image by digest' regctl manifest delete "$regctl_image@$(digest clients/regctl copy)"
same 'regctl: what it deleted is gone' "$(status clients/regctl/manifests/copy)" 404
check 'regctl: logout' regctl registry logout "$REGISTRY"
refused 'regctl: without a login the repository is closed' regctl tag ls "$regctl_image"
