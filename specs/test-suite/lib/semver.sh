# Semantic versions (https://semver.org, 2.0.0) in POSIX shell.

# True if $1 is a version: three numbers, and perhaps a pre-release and build data.
semver_valid() {
	printf '%s\n' "$1" | grep -Eq '^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-((0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*))?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$'
}

# The pre-release of $1, nothing when it has none.
semver_prerelease() {
	set -- "${1%%+*}"
	case $1 in
	*-*) printf '%s\n' "${1#*-}" ;;
	esac
}

# Raises one part of $1: semver_bump VERSION major|minor|patch
semver_bump() {
	semver_core=${1%%[-+]*}
	semver_major=${semver_core%%.*}
	semver_patch=${semver_core##*.}
	semver_minor=${semver_core#*.}
	semver_minor=${semver_minor%.*}
	case $2 in
	major) echo "$((semver_major + 1)).0.0" ;;
	minor) echo "$semver_major.$((semver_minor + 1)).0" ;;
	patch) echo "$semver_major.$semver_minor.$((semver_patch + 1))" ;;
	*) return 2 ;;
	esac
}

# Compares two identifiers of a pre-release: prints -1, 0 or 1.
semver_compare_identifier() {
	if [ "$1" = "$2" ]; then
		echo 0
		return
	fi
	semver_left=$(printf '%s' "$1" | tr -d 0-9)
	semver_right=$(printf '%s' "$2" | tr -d 0-9)
	if [ -z "$semver_left" ] && [ -z "$semver_right" ]; then
		if [ "$1" -lt "$2" ]; then echo -1; else echo 1; fi
	elif [ -z "$semver_left" ]; then
		echo -1
	elif [ -z "$semver_right" ]; then
		echo 1
	elif [ "$(printf '%s\n%s\n' "$1" "$2" | sort | head -n 1)" = "$1" ]; then
		echo -1
	else
		echo 1
	fi
}

# Compares two lists of identifiers, separated by dots.
semver_compare_list() {
	while [ -n "$1" ] && [ -n "$2" ]; do
		semver_order=$(semver_compare_identifier "${1%%.*}" "${2%%.*}")
		if [ "$semver_order" != 0 ]; then
			echo "$semver_order"
			return
		fi
		semver_rest1=${1#"${1%%.*}"}
		semver_rest2=${2#"${2%%.*}"}
		set -- "${semver_rest1#.}" "${semver_rest2#.}"
	done
	if [ -n "$1" ]; then
		echo 1
	elif [ -n "$2" ]; then
		echo -1
	else
		echo 0
	fi
}

# Compares two versions: prints -1, 0 or 1.
semver_compare() {
	semver_order=$(semver_compare_list "${1%%[-+]*}" "${2%%[-+]*}")
	if [ "$semver_order" != 0 ]; then
		echo "$semver_order"
		return
	fi
	set -- "$(semver_prerelease "$1")" "$(semver_prerelease "$2")"
	# A pre-release comes before its release.
	if [ -z "$1" ] && [ -n "$2" ]; then
		echo 1
	elif [ -n "$1" ] && [ -z "$2" ]; then
		echo -1
	else
		semver_compare_list "$1" "$2"
	fi
}
