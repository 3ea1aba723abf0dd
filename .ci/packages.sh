# Sourced: install_packages NAME... puts down those of Debian's packages that are missing.

install_packages() {
    local package missing=()
    for package in "$@"; do
        dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null |
            grep --quiet 'install ok' || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if ((EUID)); then
        echo "not installed: ${missing[*]}; as root: apt-get install ${missing[*]}" >&2
        return 1
    fi
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"
}
