"""Edit distance of two texts, fast enough for any response."""


def edit_distance(first: str, second: str) -> int:
    """The least number of characters to insert, delete or replace (Levenshtein).

    Bit-parallel (Myers 1999, for whole texts as in Hyyrö 2003): one step per character of the longer text, on integers
    with one bit per character of the shorter one.
    """
    if len(first) < len(second):
        first, second = second, first
    if not second:
        return len(first)
    positions: dict[str, int] = {}
    for index, character in enumerate(second):
        positions[character] = positions.get(character, 0) | 1 << index
    mask, last = (1 << len(second)) - 1, 1 << len(second) - 1
    # Column of differences between neighbouring rows of the distance table: where they are +1, where -1.
    increases, decreases, distance = mask, 0, len(second)
    for character in first:
        equal = positions.get(character, 0)
        diagonal = (((equal & increases) + increases) ^ increases) | equal | decreases
        right_up = decreases | ~(diagonal | increases)
        right_down = increases & diagonal
        distance += bool(right_up & last) - bool(right_down & last)
        right_up = right_up << 1 | 1
        right_down <<= 1
        increases = (right_down | ~(diagonal | right_up)) & mask
        decreases = right_up & diagonal & mask
    return distance
