"""Tables for the tests of their readers."""

from hypothesis import strategies as st


def write(folder, text, encoding="utf-8"):
    path = folder / "data.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


numbers = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(-1e6, 1e6).map("{:.3e}".format),
    st.sampled_from([".5", "5.", "+1", "-0", "007", "1E5", "1e-400"]),
)
