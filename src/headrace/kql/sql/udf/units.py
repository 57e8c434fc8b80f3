"""Units of measure: each by the factor that leads to its quantity's base unit."""

from __future__ import annotations

import math

from headrace.kql.sql.udf.values import as_float

_PREFIXES = {
    "Femto": 1e-15,
    "Pico": 1e-12,
    "Nano": 1e-9,
    "Micro": 1e-6,
    "Milli": 1e-3,
    "Centi": 1e-2,
    "Deci": 1e-1,
    "Deca": 1e1,
    "Hecto": 1e2,
    "Kilo": 1e3,
    "Mega": 1e6,
    "Giga": 1e9,
    "Tera": 1e12,
    "Peta": 1e15,
}


def _prefixed(unit: str, factor: float, *prefixes: str) -> dict[str, float]:
    """The unit and its multiples; the first letter of the unit is small after a prefix."""
    made = {unit: factor}
    for prefix in prefixes or tuple(_PREFIXES):
        made[prefix + unit[0].lower() + unit[1:]] = factor * _PREFIXES[prefix]
    return made


_FOOT, _POUND, _GRAVITY = 0.3048, 0.45359237, 9.80665
_LENGTH = {
    **_prefixed("Meter", 1.0),
    **_prefixed("LightYear", 9.46073047258e15, "Kilo", "Mega"),
    **_prefixed("Parsec", 3.08567758128e16, "Kilo", "Mega"),
    "Angstrom": 1e-10,
    "AstronomicalUnit": 1.4959787070e11,
    "Chain": 20.1168,
    "DataMile": 1828.8,
    "Fathom": 1.8288,
    "Foot": _FOOT,
    "Hand": 0.1016,
    "Inch": 0.0254,
    "Microinch": 2.54e-8,
    "Mil": 2.54e-5,
    "Mile": 1609.344,
    "NauticalMile": 1852.0,
    "DtpPica": 1 / 236.220472441,
    "DtpPoint": 0.0254 / 72,
    "PrinterPica": 1 / 237.106301584,
    "PrinterPoint": 0.0254 / 72.27,
    "Shackle": 27.432,
    "SolarRadius": 6.9551e8,
    "Twip": 1 / 56692.913386,
    "UsSurveyFoot": 1200 / 3937,
    "Yard": 0.9144,
}
_SECONDS = {"Second": 1.0, "Minute": 60.0, "Hour": 3600.0}
_SPEED = {
    **{
        f"{length}Per{time}": _LENGTH[length] / seconds
        for length in (
            "Meter",
            "Centimeter",
            "Millimeter",
            "Kilometer",
            "Decimeter",
            "Micrometer",
            "Nanometer",
            "Foot",
            "Inch",
            "Yard",
            "Mile",
            "UsSurveyFoot",
        )
        for time, seconds in _SECONDS.items()
    },
    "Knot": 1852 / 3600,
    "Mach": 340.29,
    "SpeedOfLight": 299_792_458.0,
}
_MASS = {
    **_prefixed("Gram", 1e-3),
    **_prefixed("Tonne", 1e3, "Kilo", "Mega"),
    "EarthMass": 5.9722e24,
    "Grain": 6.479891e-5,
    "Kilopound": _POUND * 1e3,
    "LongHundredweight": 50.80234544,
    "LongTon": 1016.0469088,
    "Megapound": _POUND * 1e6,
    "Ounce": _POUND / 16,
    "Pound": _POUND,
    "ShortHundredweight": 45.359237,
    "ShortTon": 907.18474,
    "Slug": 14.593902937,
    "SolarMass": 1.98947e30,
    "Stone": 6.35029318,
}
_FORCE = {
    **_prefixed("Newton", 1.0, "Micro", "Milli", "Deca", "Kilo", "Mega"),
    "Dyn": 1e-5,
    "KilogramForce": _GRAVITY,
    "KilopoundForce": _POUND * _GRAVITY * 1e3,
    "KiloPond": _GRAVITY,
    "OunceForce": _POUND * _GRAVITY / 16,
    "Poundal": 0.138254954376,
    "PoundForce": _POUND * _GRAVITY,
    "ShortTonForce": 907.18474 * _GRAVITY,
    "TonneForce": 1e3 * _GRAVITY,
}
_ENERGY = {
    **_prefixed("Joule", 1.0, "Nano", "Micro", "Milli", "Kilo", "Mega", "Giga", "Tera", "Peta"),
    **_prefixed("WattHour", 3600.0, "Kilo", "Mega", "Giga", "Tera"),
    **_prefixed("Calorie", 4.184, "Kilo", "Mega"),
    **_prefixed("ElectronVolt", 1.602176565e-19, "Kilo", "Mega", "Giga", "Tera"),
    **_prefixed("BritishThermalUnit", 1055.05585262, "Kilo", "Mega", "Giga"),
    **_prefixed("ThermEc", 1.05505585262e8, "Deca"),
    **_prefixed("ThermImperial", 1.05505585257348e8, "Deca"),
    **_prefixed("ThermUs", 1.054804e8, "Deca"),
    **_prefixed("WattDay", 86_400.0, "Kilo", "Mega", "Giga", "Tera"),
    "Erg": 1e-7,
    "FootPound": 1.355817948,
    "HorsepowerHour": 2.6845195377e6,
}
_LITRE = 1e-3
_VOLUME = {
    **{
        f"Cubic{name}": factor**3
        for name, factor in (
            ("Meter", 1.0),
            ("Centimeter", 1e-2),
            ("Decimeter", 1e-1),
            ("Millimeter", 1e-3),
            ("Micrometer", 1e-6),
            ("Kilometer", 1e3),
            ("Hectometer", 1e2),
            ("Foot", _FOOT),
            ("Inch", 0.0254),
            ("Mile", 1609.344),
            ("Yard", 0.9144),
        )
    },
    **_prefixed("Liter", _LITRE, "Nano", "Micro", "Milli", "Centi", "Deci", "Deca", "Hecto", "Kilo", "Mega"),
    **_prefixed("CubicFoot", _FOOT**3, "Hecto", "Kilo", "Mega"),
    **_prefixed("CubicMeter", 1.0, "Hecto", "Kilo"),
    **_prefixed("ImperialGallon", 0.00454609, "Kilo", "Mega"),
    **_prefixed("UsGallon", 0.003785411784, "Deca", "Deci", "Hecto", "Kilo", "Mega"),
    "AcreFoot": 1 / 0.000810714,
    "AuTablespoon": 20e-6,
    "BoardFoot": 0.002359737216,
    "ImperialBeerBarrel": 0.16365924,
    "ImperialOunce": 2.84130625e-5,
    "ImperialPint": 5.6826125e-4,
    "ImperialQuart": 1.1365225e-3,
    "MetricCup": 2.5e-4,
    "MetricTeaspoon": 5e-6,
    "OilBarrel": 0.158987294928,
    "UkTablespoon": 15e-6,
    "UsBeerBarrel": 0.117347765,
    "UsCustomaryCup": 2.365882365e-4,
    "UsLegalCup": 2.4e-4,
    "UsOunce": 2.95735295625e-5,
    "UsPint": 4.73176473e-4,
    "UsQuart": 9.46352946e-4,
    "UsTablespoon": 1.478676478125e-5,
    "UsTeaspoon": 4.92892159375e-6,
}
_ANGLE = {
    "Radian": 180 / math.pi,
    "Centiradian": 1.8 / math.pi,
    "Deciradian": 18 / math.pi,
    "Milliradian": 0.18 / math.pi,
    "Microradian": 0.00018 / math.pi,
    "Nanoradian": 1.8e-7 / math.pi,
    "Degree": 1.0,
    "Millidegree": 1e-3,
    "Microdegree": 1e-6,
    "Nanodegree": 1e-9,
    "Arcminute": 1 / 60,
    "Arcsecond": 1 / 3600,
    "Gradian": 0.9,
    "NatoMil": 360 / 6400,
    "Revolution": 360.0,
}
_QUANTITIES = {
    "angle": _ANGLE,
    "energy": _ENERGY,
    "force": _FORCE,
    "length": _LENGTH,
    "mass": _MASS,
    "speed": _SPEED,
    "volume": _VOLUME,
}
# Kelvin is (value + offset) * factor.
_TEMPERATURE = {
    "Kelvin": (1.0, 0.0),
    "DegreeCelsius": (1.0, 273.15),
    "DegreeFahrenheit": (5 / 9, 459.67),
    "DegreeRankine": (5 / 9, 0.0),
    "DegreeDelisle": (-2 / 3, -559.725),
    "DegreeNewton": (100 / 33, 90.1395),
    "DegreeReaumur": (5 / 4, 218.52),
    "DegreeRoemer": (40 / 21, 135.90375),
    "SolarTemperature": (5778.0, 0.0),
    "MillidegreeCelsius": (1e-3, 273_150.0),
}


def convert_unit(
    quantity: str | None, value: str | None, source: str | None, target: str | None
) -> str | None:
    """The value in another unit; None for units that the quantity does not have."""
    number = as_float(value)
    if number is None:
        return None
    if quantity == "temperature":
        before, after = _TEMPERATURE.get(source or ""), _TEMPERATURE.get(target or "")
        if before is None or after is None:
            return None
        return repr((number + before[1]) * before[0] / after[0] - after[1])
    if quantity == "angle" and "Tilt" in (source, target):
        return _by_tilt(number, source, target)
    units = _QUANTITIES.get(quantity or "", {})
    if source not in units or target not in units:
        return None
    return repr(number * units[source] / units[target])


def _by_tilt(number: float, source: str | None, target: str | None) -> str | None:
    """An angle from or to its sine."""
    degrees = math.degrees(math.asin(number)) if source == "Tilt" else number * _ANGLE[source or ""]
    return repr(math.sin(math.radians(degrees)) if target == "Tilt" else degrees / _ANGLE[target or ""])
