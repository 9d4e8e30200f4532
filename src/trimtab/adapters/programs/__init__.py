"""Policy programs: small pure numeric functions, checked on their syntax tree and compiled to native code."""

from trimtab.adapters.programs.borrowing import borrowed
from trimtab.adapters.programs.compiled import POLICY, Policy, compile_program
from trimtab.adapters.programs.language import fault, read_program
from trimtab.adapters.programs.signature import Input, ProgramFault, Signature

__all__ = [
    "POLICY",
    "Input",
    "Policy",
    "ProgramFault",
    "Signature",
    "borrowed",
    "compile_program",
    "fault",
    "read_program",
]
