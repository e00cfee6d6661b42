# shellcheck shell=bash
# Sourced by ./run and ./check: installs the Debian packages of tools/packages.txt that are missing.
# Asks the network only when something is missing; started again it does nothing.

# Print the packages of the sets given ("run check") that are not on this machine.
setup_missing() {
    local list=$1 package set have installed
    shift
    installed=$(dpkg-query -W -f '${db:Status-Status} ${binary:Package} ${Package}\n' 2>/dev/null |
        awk '$1 == "installed" { print $3 }')
    while read -r package set have _; do
        case $package in '' | '#'*) continue ;; esac
        case " $* " in *" $set "*) ;; *) continue ;; esac
        case $have in
        have=*) if command -v "${have#have=}" >/dev/null 2>&1; then continue; fi ;;
        esac
        grep -qxF -- "$package" <<<"$installed" || printf '%s\n' "$package"
    done <"$list"
}

# Install packages without letting any of them start a service, now or at the next boot.
setup_install() {
    local policy=/usr/sbin/policy-rc.d made_policy='' failed=''
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        made_policy=yes
    fi
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install -y --no-install-recommends "$@"; } </dev/null || failed=yes
    if [ -n "$made_policy" ]; then
        rm -f $policy
    fi
    case " $* " in
    *' redis-server '*) update-rc.d redis-server disable >/dev/null 2>&1 || true ;;
    esac
    [ -z "$failed" ]
}

# setup_packages SET...: make sure that the packages of these sets are there, or say what to do.
setup_packages() {
    local list missing
    list=$(dirname "${BASH_SOURCE[0]}")/packages.txt
    if [ -n "${FL_NO_SETUP:-}" ]; then
        return 0
    fi
    if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
        echo "This is not a Debian system. Install what tools/packages.txt lists, then start again" >&2
        echo "with FL_NO_SETUP=1 in the environment." >&2
        return 1
    fi
    missing=$(setup_missing "$list" "$@" | tr '\n' ' ')
    missing=${missing% }
    if [ -z "$missing" ]; then
        return 0
    fi
    if [ "$(id -u)" -ne 0 ]; then
        echo "Missing packages. As root:" >&2
        echo "    apt-get update && apt-get install --no-install-recommends $missing" >&2
        echo "then start again (or, without them, with FL_NO_SETUP=1 in the environment)." >&2
        return 1
    fi
    echo "Installing $missing"
    # shellcheck disable=SC2086 # a list of words
    setup_install $missing || {
        echo "Could not install: $missing" >&2
        return 1
    }
}
