<%@ page session="false" contentType="application/json;charset=UTF-8" trimDirectiveWhitespaces="true"
    import="java.lang.management.ManagementFactory, javax.management.*" %>
<%-- What the lab's own servers say in their status: how many sessions are here, copies too, and what they cost. --%>
<%!
  static final MBeanServer BEANS = ManagementFactory.getPlatformMBeanServer();

  static double sum(String beans, String attribute) throws JMException {
    double sum = 0;
    for (ObjectName bean : BEANS.queryNames(new ObjectName(beans), null)) {
      sum += ((Number) BEANS.getAttribute(bean, attribute)).doubleValue();
    }
    return sum;
  }
%>
<%
  long active = Math.round(sum("Catalina:type=Manager,*", "activeSessions"));
  long sent = Math.round(sum("Catalina:type=Channel,interceptorName=ThroughputInterceptor,*", "mbTx") * (1 << 20));
  System.gc();
  long heap = ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed();
  out.print("{\"active\":" + active + ",\"sent_bytes\":" + sent + ",\"heap_bytes\":" + heap + "}");
%>
