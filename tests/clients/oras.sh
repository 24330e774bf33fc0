# shellcheck shell=bash
# oras: log in, push files, pull them, attach and discover referrers, copy with them, delete.

oras_artifact=$REGISTRY/clients/oras
oras_password() { oras login --plain-http --username "$ADMIN" --password-stdin "$REGISTRY" <<< "$1"; }
oras_push() {
    cd "$SCRATCH/content"
    oras push --plain-http --artifact-type application/vnd.example.files "$oras_artifact:1" \
        small/hello.txt:text/plain large/random.bin:application/octet-stream
}
oras_pull() {
    mkdir -p "$SCRATCH/oras" && cd "$SCRATCH/oras" && oras pull --plain-http "$oras_artifact:1" &&
        cmp large/random.bin "$SCRATCH/content/large/random.bin" && cmp small/hello.txt "$SCRATCH/content/small/hello.txt"
}
oras_attach() {
    cd "$SCRATCH/content"
    oras attach --plain-http --artifact-type "$1" --annotation "made.by=oras" "$oras_artifact:1" small/hello.txt:text/plain
}
oras_types() { oras discover --plain-http --format json "$@" "$oras_artifact:1" | jq -r '[.referrers[].artifactType] | sort | join(" ")'; }
export -f oras_password oras_push oras_pull oras_attach
export oras_artifact

refused 'oras: a wrong password is refused' oras_password wrong
check 'oras: login' oras_password "$PASSWORD"
check 'oras: pushes two files' oras_push
same 'oras: the digest is the one served' "$(oras resolve --plain-http "$oras_artifact:1")" "$(digest clients/oras 1)"
check 'oras: pulls them with their bytes' oras_pull
check 'oras: attaches a signature' oras_attach application/vnd.example.signature
check 'oras: attaches a bill of materials' oras_attach application/vnd.example.sbom
same 'oras: discovers both' "$(oras_types)" 'application/vnd.example.sbom application/vnd.example.signature'
same 'oras: discovers by type' "$(oras_types --artifact-type application/vnd.example.sbom)" application/vnd.example.sbom
check 'oras: copies the artifact with its referrers' \
    oras cp -r --from-plain-http --to-plain-http "$oras_artifact:1" "$REGISTRY/clients/oras-copy:1"
same 'oras: the copy has the same digest' "$(digest clients/oras 1)" "$(digest clients/oras-copy 1)"
same 'oras: the referrers came along' \
    "$(oras discover --plain-http --format json "$REGISTRY/clients/oras-copy:1" | jq '.referrers | length')" 2
check 'oras: copies every platform of an index' \
    oras cp --from-plain-http --to-plain-http "$REGISTRY/clients/podman:index" "$oras_artifact:index"
same 'oras: the copy has the digest of the index' "$(digest clients/podman index)" "$(digest clients/oras index)"
same 'oras: lists the tags' "$(oras repo tags --plain-http "$oras_artifact" | sort | tr '\n' ' ')" '1 index '
check 'oras: deletes' oras manifest delete --plain-http --force "$oras_artifact:index"
same 'oras: what it deleted is gone' "$(status clients/oras/manifests/index)" 404
check 'oras: logout' oras logout "$REGISTRY"
refused 'oras: without a login the repository is closed' oras repo tags --plain-http "$oras_artifact"
