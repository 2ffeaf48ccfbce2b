# Sourced by the commands beside it: finds a Python that is new enough and hands over to it.
set -euo pipefail

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

run_module() { # MODULE ARGUMENTS...
    cd "$(dirname "${BASH_SOURCE[0]}")/../.."
    local candidate
    for candidate in "${PYTHON:-python3}" python3.11 python3.12 python3.13 python3.14; do
        if new_enough "$candidate"; then
            PYTHONUNBUFFERED=1 exec "$candidate" -m "$@"
        fi
    done
    echo "Python 3.11 or newer is needed; python3 is $(python3 --version 2>&1 || true)." \
        "Install one, or name it: PYTHON=/path/to/python3 $0" >&2
    exit 1
}
