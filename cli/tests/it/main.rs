//! What a person or a script meets: the built binary, driven from outside.

mod architecture;
mod buying;
mod chart;
mod claims;
mod cluster;
mod contract;
mod errors;
mod exit_codes;
mod help;
mod image;
mod json;
mod kill_points;
mod kills;
mod load;
mod operator;
mod pieces;
mod running;
mod shopctl;
mod stories;
mod up;
mod verify;
