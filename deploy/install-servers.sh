#!/bin/sh
# Installs what is missing of the named servers from Debian's or Ubuntu's
# packages: postgresql, redis, rabbitmq, and of the programs that files are
# processed with: ffmpeg, poppler, libreoffice; fonts for certificates. Nothing is started.
set -eu

missing=""
for server in "$@"; do
	case $server in
	postgresql)
		found=""
		for d in /usr/lib/postgresql/*/bin; do [ -x "$d/initdb" ] && found=$d; done
		[ -n "$found" ] || command -v initdb >/dev/null 2>&1 || missing="$missing postgresql"
		;;
	redis) command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server" ;;
	rabbitmq) [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing="$missing rabbitmq-server" ;;
	ffmpeg) command -v ffmpeg >/dev/null 2>&1 && command -v ffprobe >/dev/null 2>&1 || missing="$missing ffmpeg" ;;
	poppler) command -v pdftoppm >/dev/null 2>&1 && command -v pdftotext >/dev/null 2>&1 && command -v pdfinfo >/dev/null 2>&1 || missing="$missing poppler-utils" ;;
	libreoffice) command -v soffice >/dev/null 2>&1 || missing="$missing libreoffice-impress fonts-liberation" ;;
	fonts)
		[ -e /usr/share/fonts/truetype/noto/NotoSansArabic-Regular.ttf ] || missing="$missing fonts-noto-core"
		[ -e /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc ] || missing="$missing fonts-noto-cjk"
		;;
	*) echo "install-servers: unknown server $server" >&2; exit 2 ;;
	esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "Install these with your system's package manager, then try again:$missing" >&2
	exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null 2>&1; then
		echo "Not root and no sudo. Run as root: apt-get install$missing" >&2
		exit 1
	fi
	as_root=sudo
fi
echo "Installing:$missing"
# A policy that forbids starting keeps the packages' own servers off the
# standard ports; one that is there already is left as it is.
policy=/usr/sbin/policy-rc.d
made=""
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
	$as_root chmod +x $policy
	made=yes
fi
restore() { [ -z "$made" ] || $as_root rm -f $policy; }
trap restore EXIT
$as_root apt-get update -q
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=600 $missing
