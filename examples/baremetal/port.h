/* What the program needs of its surroundings. The port calls main and ends with its result. */
#ifndef PORT_H
#define PORT_H

/* Shows text that a zero byte ends. */
void port_write(const char *text);

/* Ends the program. */
void port_exit(int code);

int main(void);

#endif
