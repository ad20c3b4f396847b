"""Which requests a step computes, and with which pages."""
