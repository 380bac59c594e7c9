"""The paper's concept sets, made from the public files by rules (section 3, 5.1; supplement 1)."""
