"""`fleet completion`: what a shell is to read so that it completes fleet's words. The words come from complete.py."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from fleet.cli.options import Options, with_options
from fleet.cli.output import write
from fleet.cli.watch import refuse_watch_of_none


class Shell(StrEnum):
    """The shells that fleet knows."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


_BASH = r"""# fleet's words for bash: source <(fleet completion bash)
_fleet() {
    local how word line=${COMP_LINE:0:COMP_POINT}
    COMPREPLY=()
    while IFS= read -r word; do
        if [[ -z $how ]]; then how=$word; else COMPREPLY+=("$word"); fi
    done < <(command "${COMP_WORDS[0]/#\~/$HOME}" __complete bash "$line" "$COMP_WORDBREAKS" 2>/dev/null)
    case $how in
    files) compopt -o default ;;
    open) compopt -o nospace ;;
    esac
}
complete -F _fleet fleet
"""

_ZSH = r"""#compdef fleet
# fleet's words for zsh: source <(fleet completion zsh), behind compinit; or as the file _fleet in a folder of $fpath
_fleet() {
    local -a lines values texts
    local line how
    lines=("${(@f)$(command "${(Q)words[1]}" __complete zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    how=$lines[1]
    for line in "${(@)lines[2,-1]}"; do
        [[ -n $line ]] || continue
        values+=("${line%%$'\t'*}")
        texts+=("${line//$'\t'/  -- }")
    done
    case $how in
    files) _files ;;
    open) compadd -S '' -d texts -a -- values ;;
    *) compadd -d texts -a -- values ;;
    esac
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _fleet "$@"
else
    compdef _fleet fleet
fi
"""

_FISH = r"""# fleet's words for fish: fleet completion fish | source
function __fleet_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines (command $words[1] __complete fish $words[2..-1] 2>/dev/null)
    if test "$lines[1]" = files
        __fish_complete_path (commandline -ct)
    else
        printf '%s\n' $lines[2..-1]
    end
end
complete -c fleet -f -a '(__fleet_complete)'
"""

_SCRIPTS = {Shell.BASH: _BASH, Shell.ZSH: _ZSH, Shell.FISH: _FISH}


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("completion")(with_options(_completion))


def _completion(
    *,
    shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="The shell that is to read it.")],
    options: Options,
) -> int:
    """Print what a shell reads to complete fleet's words.

    Commands, options, servers, groups, columns, runs, and the common names that the last runs have seen. No server is
    asked. For bash put `source <(fleet completion bash)` into ~/.bashrc.
    """
    refuse_watch_of_none(options)
    write(_SCRIPTS[shell])
    return 0
