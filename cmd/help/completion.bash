# shellcheck shell=bash
# Completion of flags, their values and operands in bash 4.3 or later. The build appends _md_stored, which names the images
# in the store, and _md_takes: operands=(DIR CMD...) flags=(--rm '--net=host|none' '--workdir=PATH' '-w=PATH').

_md_complete() {
  local operands=() flags=() words=() flag='' ended='' kind='' at=0 current lead=''
  COMPREPLY=()
  _md_takes "${1##*/}"
  _md_words
  _md_walk
  current=${words[-1]}
  if [[ $flag ]]; then
    _md_value "$flag"
  elif [[ $ended || $current != -* ]]; then
    kind=${operands[at]:-}
  elif [[ $current == --*=* ]]; then
    lead=${current%%=*}=
    _md_value "${current%%=*}"
  else
    mapfile -t COMPREPLY < <(compgen -W "${flags[*]%%=*}" -- "$current")
    return
  fi
  _md_reply
}

# Sets words to those behind the command, up to the cursor, as the shell will see them: bash cuts them at = and : as well.
_md_words() {
  local word rest=${COMP_LINE:0:COMP_POINT}
  rest=${rest#*"${COMP_WORDS[0]}"}
  for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
    if [[ $rest == [[:space:]]* ]]; then
      words+=('')
      rest=${rest#"${rest%%[![:space:]]*}"}
    fi
    # The cursor may be inside of the last one.
    [[ $rest == "$word"* ]] || word=$rest
    words[-1]+=$word
    rest=${rest#"$word"}
  done
}

# Walks up to the last word. Sets flag when that is the value of one, ended when it cannot be a flag any more, and at to the
# number of the operand that it is otherwise.
_md_walk() {
  local word
  for word in "${words[@]:0:${#words[@]}-1}"; do
    if [[ $flag ]]; then
      flag=''
    elif [[ $ended || $word != -?* ]]; then
      [[ ${operands[at]:-} == *... ]] || ((at += 1))
      # A command line of its own begins there.
      [[ ${operands[at]:-} != CMD... ]] || ended=1
    elif [[ $word == -- ]]; then
      ended=1
    else
      _md_waiting "$word"
    fi
  done
}

# Sets flag to the one whose value is the next word: after --net, -e, -ite, and not after --rm, --net=none, -eA=1.
_md_waiting() {
  local i
  if [[ $1 == --* ]]; then
    ! _md_value "$1" || flag=$1
    return
  fi
  for ((i = 1; i < ${#1}; i++)); do
    _md_value "-${1:i:1}" || continue
    ((i + 1 < ${#1})) || flag=-${1:i:1}
    return
  done
}

# Sets kind to what the value of a flag is; fails for a flag without one.
_md_value() {
  local known
  for known in "${flags[@]}"; do
    [[ $known == "$1="* ]] || continue
    kind=${known#*=}
    return 0
  done
  return 1
}

_md_reply() {
  local typed=${current#"$lead"} breaks=${COMP_WORDBREAKS//[^=:]/} choice
  case $kind in
    DIR | LAYER) compopt -o dirnames ;;
    FILE* | SOURCE* | CMD...) compopt -o default ;;
    # oci:DIR and its like.
    IMAGE*) [[ $typed != *:* ]] || compopt -o default ;;
  esac
  while read -r choice; do
    [[ $choice != "$typed"* ]] || COMPREPLY+=("$lead$choice")
  done < <(_md_choices)
  # Where readline breaks words at = and :, it replaces what is behind the last of them.
  [[ -z $breaks ]] || COMPREPLY=("${COMPREPLY[@]#"${current%"${current##*["$breaks"]}"}"}")
}

_md_choices() {
  case $kind in
    IMAGE*) _md_images ;;
    *) printf '%s\n' "${kind//|/$'\n'}" | grep '^[[:lower:]]' ;;
  esac
}

# The images of the store, each by the shortest of its names that begins with what is typed.
_md_images() {
  local name hub form
  while read -r name; do
    hub=${name#docker.io/}
    hub=${hub#library/}
    for form in "${hub%:latest}" "$hub" "$name"; do
      [[ $form != "$typed"* ]] || { printf '%s\n' "$form" && break; }
    done
  done < <(_md_stored)
}
