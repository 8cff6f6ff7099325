from srnn.motion.scaling import *
