from srnn.motion.flow_map import *
