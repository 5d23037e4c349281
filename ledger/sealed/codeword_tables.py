"""Bias distributions by scripts/make_code_tables.py: do not edit.

Entry m serves up to 2m colluders: cumulative probabilities, biases, in units of 2^-64.
The last cumulative probability is 2^64 and left out.
"""

from __future__ import annotations

from typing import Final

DISTRIBUTIONS: Final[dict[int, tuple[tuple[int, ...], tuple[int, ...]]]] = {
    1: (
        (),
        (0x8000000000000000,),
    ),
    2: (
        (0x8000000000000000,),
        (
            0x361962E9BF338ECB,
            0xC9E69D1640CC7135,
        ),
    ),
    3: (
        (
            0x54FED069CBD90A6D,
            0xAB012F963426F593,
        ),
        (
            0x1CDA042F0236E0FB,
            0x8000000000000000,
            0xE325FBD0FDC91F05,
        ),
    ),
    4: (
        (
            0x3F928EB6E1BDE17C,
            0x8000000000000000,
            0xC06D71491E421E84,
        ),
        (
            0x11C6490C2719EBE7,
            0x547B804C458407BB,
            0xAB847FB3BA7BF845,
            0xEE39B6F3D8E61419,
        ),
    ),
    5: (
        (
            0x32C331BE1D62F1A0,
            0x663A3FD730F5A430,
            0x99C5C028CF0A5BD0,
            0xCD3CCE41E29D0E60,
        ),
        (
            0x0C024C7EB3165AF4,
            0x3B1370099923EC9A,
            0x8000000000000000,
            0xC4EC8FF666DC1366,
            0xF3FDB3814CE9A50C,
        ),
    ),
    6: (
        (
            0x2A3EAF352E9FFFF1,
            0x55148DB42B2DE211,
            0x8000000000000000,
            0xAAEB724BD4D21DEF,
            0xD5C150CAD160000F,
        ),
        (
            0x08A4D6C5FD7F88CD,
            0x2B5D7DA6A8DA86D8,
            0x6174ED2FC98A3ADC,
            0x9E8B12D03675C524,
            0xD4A2825957257928,
            0xF75B293A02807733,
        ),
    ),
    7: (
        (
            0x242C519FDCE0F070,
            0x48DAA5D0EF443E4A,
            0x6D9CE61129CC3FDF,
            0x926319EED633C021,
            0xB7255A2F10BBC1B6,
            0xDBD3AE60231F0F90,
        ),
        (
            0x0683A1C60E775A9F,
            0x211581907178A8BA,
            0x4C0D441DCC053C9F,
            0x8000000000000000,
            0xB3F2BBE233FAC361,
            0xDEEA7E6F8E875746,
            0xF97C5E39F188A561,
        ),
    ),
    8: (
        (
            0x1FA063D8D8FC9B56,
            0x3FB2AFD7C49172C5,
            0x5FD6F786C81E8BA2,
            0x8000000000000000,
            0xA029087937E1745E,
            0xC04D50283B6E8D3B,
            0xE05F9C27270364AA,
        ),
        (
            0x051538D3D4CE6600,
            0x1A06D536D82F8795,
            0x3CBB5A9F35ED302E,
            0x688536B0C38CBB1B,
            0x977AC94F3C7344E5,
            0xC344A560CA12CFD2,
            0xE5F92AC927D0786B,
            0xFAEAC72C2B319A00,
        ),
    ),
}
