"""Union ControlNets for FLUX.1."""
