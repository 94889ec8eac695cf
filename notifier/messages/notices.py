"""Turns an operational notice into the variables of its template: plain words for what is wrong, and what to do."""

from collections.abc import Mapping
from typing import Any, Final

from notifier.config.message_values import Language
from notifier.messages.phrasing import PLAIN, Phrasing
from notifier.messages.rich_text import code, literal

_TIME_WIDTH: Final = 40

_TITLES: Final[Mapping[str, tuple[str, str]]] = {
    "gap": ("changes may have been missed", "puede faltar algún cambio"),
    "removals_held": ("many records are missing; their removal is held back", "faltan muchos registros; se retienen"),
    "arrivals_held": ("many records at once are held back", "se retienen muchos registros nuevos"),
    "changes_held": ("many changes at once are held back", "se retienen muchos cambios"),
    "records_unreadable": ("some records cannot be read", "algunos registros no se pueden leer"),
    "count_unexplained": ("the number of records is not explained", "el número de registros no se explica"),
    "answers_disagree": ("the API's answers disagree", "las respuestas de la API no coinciden"),
    "records_renumbered": ("records have new keys", "los registros tienen claves nuevas"),
    "list_unsearchable": ("older changes are found late", "los cambios antiguos se detectan tarde"),
    "search_given_up": ("older changes are found late", "los cambios antiguos se detectan tarde"),
    "budget_exhausted": ("all allowed requests are in use", "se usan todas las consultas permitidas"),
    "source_failing": ("cannot be read", "no se puede leer"),
    "destination_failing": ("cannot be reached", "no se puede entregar"),
    "destination_disabled": ("is disabled", "está desactivado"),
    "destination_behind": ("deliveries are late", "las entregas se retrasan"),
    "deliveries_orphaned": ("events wait for a destination that is not configured", "eventos sin destino configurado"),
    "deliveries_dead": ("deliveries were given up", "se abandonaron entregas"),
    "disk_nearly_full": ("the disk is nearly full", "el disco está casi lleno"),
    "state_rebuilt": ("the state file was damaged and rebuilt", "el archivo de estado se dañó y se reconstruyó"),
    "state_behind": ("the state file was older than expected", "el archivo de estado era antiguo"),
    "clock_off": ("this machine's clock is wrong", "el reloj del equipo está mal"),
    "store_unwritable": ("the state file cannot be written", "no se puede escribir el archivo de estado"),
    "essentials_not_kept": ("the copy of the essentials is not kept", "no se guarda la copia de lo esencial"),
    "count_failing": ("the number of records cannot be read", "no se puede leer el número de registros"),
    "sweep_failing": ("the whole list cannot be read", "no se puede leer la lista completa"),
    "names_unknown": ("names cannot be read", "no se pueden leer los nombres"),
    "restarting": ("the notifier restarts again and again", "el notificador se reinicia una y otra vez"),
    "configuration_broken": ("the configuration is wrong", "la configuración es incorrecta"),
    "heartbeat_failing": ("the heartbeat fails", "la señal de vida falla"),
    "alerts_undelivered": ("alerts cannot be delivered", "no se pueden entregar las alertas"),
    "interface_down": ("the dashboard cannot be reached", "no se puede acceder al panel"),
    "descriptors_low": ("file descriptors run out", "se agotan los descriptores de archivo"),
    "alerts_moved": ("alerts go elsewhere now", "las alertas van a otro destino"),
}
"""What each condition means, in English and in Spanish."""

_KINDS: Final = ("sources", "destinations")
_OWN_SUBJECTS: Final = ("store", "clock", "alerts", "heartbeat", "configuration", "interface", "process")
"""The subjects that are parts of the notifier itself, which the titles name already."""


def notice(data: Mapping[str, Any], width: int, phrasing: Phrasing = PLAIN) -> dict[str, Any]:
    """Return the variables of a notice with this data, with no text longer than `width` allows."""
    subjects = data.get("subjects")
    several = isinstance(subjects, list) and len(subjects) > 1
    # The summary needs more room if it names several sources or destinations with the same problem.
    times = 16 if several else 4
    condition, subject = literal(data.get("condition"), width), literal(data.get("subject"), width)
    kind, _, name = subject.partition("/")
    if several and kind in _KINDS:
        name = phrasing.word(f"several {kind}")
    elif kind not in _KINDS:
        name = "" if subject in _OWN_SUBJECTS else subject
    summary = _with_code(literal(phrasing.moment(_text(data.get("summary"))), times * width))
    # The title names the subject already.
    details = summary.removeprefix(f"{name}: ") if name else summary
    remedy = _with_code(literal(_text(data.get("remedy")), 4 * width))
    # Some summaries end with the same advice.
    advice = "" if not remedy or remedy in summary or data.get("state") == "resolved" else remedy
    title = _title(condition, phrasing.language)
    return {
        "withdrawn": data.get("state") == "withdrawn",
        "resolved": data.get("state") == "resolved",
        "condition": condition.replace("_", " ") or phrasing.word("notice"),
        "subject": subject,
        "summary": summary,
        "since": literal(phrasing.moment(_text(data.get("since"))), _TIME_WIDTH),
        "title": title or condition.replace("_", " ") or phrasing.word("notice"),
        "name": name,
        "details": (details[:1].upper() + details[1:]).removesuffix("."),
        "remedy": advice,
    }


def _title(condition: str, language: Language) -> str:
    english, spanish = _TITLES.get(condition, ("", ""))
    return spanish if language is Language.ES else english


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _with_code(text: str) -> str:
    """Return a text in which commands and keys between backticks are marked as code, without the backticks."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return text.replace("`", "'")
    return "".join(code(part) if place % 2 and part else part for place, part in enumerate(parts))
