"""What mutations replace, and the nodes of syntax trees in which they do it."""

from __future__ import annotations


def _nodes(names: str) -> frozenset[str]:
    return frozenset(names.split())


COMPARISONS = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "===": "!==",
    "!==": "===",
    "in": "not in",
    "not in": "in",
    "is": "is not",
    "is not": "is",
}
EQUALITIES = frozenset(COMPARISONS) - {"<", "<=", ">", ">="}
"""Comparisons whose mutation is the negated comparison."""
LOGIC = {"and": "or", "or": "and", "&&": "||", "||": "&&"}
ARITHMETIC = {
    "+": "-",
    "-": "+",
    "*": "+",
    "/": "*",
    "//": "*",
    "%": "*",
    "**": "*",
    "@": "*",
    "<<": ">>",
    ">>": "<<",
    ">>>": "<<",
    "&": "|",
    "|": "&",
    "^": "&",
    "&^": "&",
}
TYPED_ARITHMETIC = ARITHMETIC | {"/": "-", "%": "-"}
"""The same for compilers that reject constants which are too large."""
WITHOUT_EFFECT = {"0": {"+": "*", "-": "*", "<<": "", ">>": "", "|": "", "^": ""}}
WITHOUT_EFFECT |= {"1": {"/": "+", "//": "+", "**": "+"}}
"""Other operators for a right operand with which an operator and its mutation do the same."""
ASSIGNMENTS = {
    "-=": "+=",
    "*=": "+=",
    "/=": "*=",
    "//=": "*=",
    "%=": "*=",
    "**=": "*=",
    "<<=": ">>=",
    ">>=": "<<=",
    ">>>=": "<<=",
    "&=": "|=",
    "|=": "&=",
    "^=": "&=",
    "&&=": "||=",
    "||=": "&&=",
}
STEPS = {"++": "--", "--": "++"}
JUMPS = {"break": "continue", "continue": "break"}
EXTREMES = {"min": "max", "max": "min"}

BINARY = frozenset({"binary_operator", "binary_expression"})
COMPOUND = _nodes(
    """
    augmented_assignment augmented_assignment_expression compound_assignment_expr
    assignment_statement assignment_expression
    """
)
UPDATES = frozenset({"update_expression", "inc_statement", "dec_statement"})
JUMP_NODES = frozenset(
    {"break_statement", "continue_statement", "break_expression", "continue_expression"}
)
CALLS = frozenset({"call", "call_expression", "method_invocation"})
LOOPS = _nodes(
    """
    while_statement for_statement do_statement for_in_statement enhanced_for_statement
    while_expression for_expression loop_expression
    """
)
SWITCHES = _nodes(
    """
    switch_statement switch_expression expression_switch_statement type_switch_statement
    select_statement
    """
)
CONDITIONALS = _nodes(
    """
    if_statement if_expression elif_clause conditional_expression ternary_expression if_clause
    for_clause match_pattern
    """
) | (LOOPS - {"for_in_statement", "enhanced_for_statement", "for_expression"})
"""Nodes that have a condition."""
BRANCHES = _nodes(
    """
    block statement_block elif_clause except_clause finally_clause case_clause switch_case
    switch_default expression_case default_case communication_case type_case
    switch_block_statement_group switch_rule match_arm catch_clause
    """
)
FUNCTIONS = _nodes(
    """
    function_definition function_declaration function_expression generator_function_declaration
    generator_function arrow_function method_definition method_declaration
    constructor_declaration function_item func_literal lambda lambda_expression
    closure_expression async_block
    """
)

NUMBERS = _nodes(
    """
    integer float number int_literal float_literal integer_literal decimal_integer_literal
    hex_integer_literal octal_integer_literal binary_integer_literal
    decimal_floating_point_literal
    """
)
STRINGS = _nodes(
    """
    string template_string interpreted_string_literal raw_string_literal string_literal
    """
)
TEXTS = STRINGS | {"concatenated_string"}
BOOLEANS = frozenset({"true", "false", "boolean_literal"})
NOTHING = _nodes(
    """
    none null undefined nil null_literal
    """
)
SEQUENCES = frozenset({"list", "tuple", "list_comprehension", "array"})
"""Values that Python can add, but not subtract."""
ATOMS = CALLS | {
    "identifier",
    "attribute",
    "member_expression",
    "subscript",
    "subscript_expression",
    "field_access",
    "field_expression",
    "selector_expression",
    "index_expression",
    "array_access",
    "macro_invocation",
    "parenthesized_expression",
    "this",
    "self",
}
"""Expressions that need no parentheses after an operator or before one."""

NEVER = _nodes(
    """
    decorator annotation marker_annotation attribute_item inner_attribute_item import_statement
    import_from_statement future_import_statement import_declaration use_declaration
    package_clause package_declaration type type_annotation type_arguments type_parameters
    type_predicate_annotation type_alias_statement type_alias_declaration type_declaration
    type_item interface_declaration annotation_type_declaration macro_definition
    format_specifier dimensions
    """
)
"""Nodes in which nothing is mutated; comments, and nodes whose names end with `_type`, neither."""
IMPORTERS = _nodes(
    """
    require import __import__ import_module importlib.import_module
    """
)
MACROS_WITH_TEXT = _nodes(
    """
    format print println eprint eprintln write writeln panic vec
    """
)
